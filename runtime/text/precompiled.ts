// SentencePiece's table of Unicode's compatibility forms (`precompiled_charsmap`): a double-array trie (Yata's Darts) over UTF-8, whose
// values are places in a text of replacements. The library takes NFKC and a list of its own instead.

/** A step of a normalizer, as the library holds it. */
interface NormalizeStep {
  readonly config: { readonly type: string; readonly precompiled_charsmap?: unknown; readonly original?: unknown };
  readonly normalizers?: readonly (NormalizeStep | null)[];
  normalize: (text: string) => string;
}

/**
 * Has the steps with a table use it: with `original` as SentencePiece does, the longest key at each place; else as Hugging Face's
 * tokenizers do (`spm_precompiled`), character by character with its marks, the shortest key that each begins with. Throws `TypeError` for a table that is damaged. */
export function useTables(step: NormalizeStep | null): void {
  const table = step?.config.type === 'Precompiled' ? step.config.precompiled_charsmap : undefined;
  if (step !== null && typeof table === 'string' && table !== '')
    step.normalize = byTable(Buffer.from(table, 'base64'), step.config.original === true);
  step?.normalizers?.forEach(useTables);
}

/** A character with its marks is looked up as a whole where it is shorter, in bytes. */
const longUnit = 6;

function byTable(bytes: Buffer, isOriginal: boolean): (text: string) => string {
  const size = bytes.length < 4 ? -1 : bytes.readUInt32LE(0);
  if (size < 0 || size % 4 !== 0 || 4 + size > bytes.length) throw new TypeError('its precompiled_charsmap is damaged');
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
  const texts = bytes.subarray(4 + size);
  const textAt = (value: number): string => {
    const end = texts.indexOf(0, value);
    return texts.toString('utf8', value, end < 0 ? undefined : end);
  };
  if (isOriginal)
    return (text) => {
      const key = Buffer.from(text);
      const out: string[] = [];
      let kept = 0;
      for (let at = 0; at < key.length;) {
        const found = keysAt(units, key, at).at(-1);
        if (found === undefined) {
          at++;
          continue;
        }
        out.push(key.toString('utf8', kept, at), textAt(found.value));
        at += found.length;
        kept = at;
      }
      return out.join('') + key.toString('utf8', kept);
    };
  const segments = new Intl.Segmenter('en', { granularity: 'grapheme' });
  const known = new Map<string, string | undefined>();
  const replacement = (piece: string): string | undefined => {
    if (known.has(piece)) return known.get(piece);
    const [found] = keysAt(units, Buffer.from(piece), 0);
    const text = found === undefined ? undefined : textAt(found.value);
    if (known.size < 100_000) known.set(piece, text);
    return text;
  };
  return (text) => {
    let out = '';
    for (const { segment } of segments.segment(text)) {
      const whole = Buffer.byteLength(segment) < longUnit ? replacement(segment) : undefined;
      if (whole !== undefined) out += whole;
      else for (const character of segment) out += replacement(character) ?? character;
    }
    return out;
  };
}

interface Key {
  /** In bytes. */
  readonly length: number;
  readonly value: number;
}

/** Keys that stand at a place of a text, the shortest first. */
function keysAt(units: Uint32Array, text: Uint8Array, start: number): readonly Key[] {
  const offset = (unit: number): number => ((unit >>> 10) << ((unit & 0x200) >>> 6)) >>> 0;
  const keys: Key[] = [];
  let at = offset(units[0] ?? 0);
  for (let i = start; i < text.length; i++) {
    const byte = text[i] ?? 0;
    at = (at ^ byte) >>> 0;
    const unit = units[at];
    if (byte === 0 || unit === undefined || (unit & 0x8000_00ff) >>> 0 !== byte) break;
    at = (at ^ offset(unit)) >>> 0;
    if (((unit >>> 8) & 1) === 1) keys.push({ length: i + 1 - start, value: (units[at] ?? 0) & 0x7fff_ffff });
  }
  return keys;
}
