// Steps of a tokenizer.json that the library takes otherwise than Hugging Face's tokenizers (Rust), spelled with steps that both take
// alike: a text that is cut elsewhere becomes other tokens, and nobody would say so.
import { isObject, type Fields } from './tokenizer-json.ts';

/** GPT-2's words; as a step of its own, since blanks are Unicode's there and JavaScript's in the library's own. */
const words = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
/** Unicode's punctuation, and all of ASCII's. */
const punctuation = String.raw`[\p{P}$+<=>^\x60|~]`;

/** What this step calls a character of a word; the library's expressions call fewer so. */
const wordClass = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`;

const split = (regex: string): Fields => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
});
/** Pieces that match are kept, nothing else. */
const kept = (regex: string): Fields => ({ ...split(regex), behavior: 'Removed', invert: true });
const sequence = (...pretokenizers: readonly unknown[]): Fields => ({ type: 'Sequence', pretokenizers });
const replaced = (regex: string, content: string): Fields => ({ type: 'Replace', pattern: { Regex: regex }, content });

/** The same tokenizer; only steps before the model change. Throws `TypeError` for a way to split that is not known. */
export function spelledOut(json: object): object {
  const fields = json as Fields;
  return { ...fields, pre_tokenizer: cutting(fields['pre_tokenizer']), normalizer: changing(fields['normalizer']) };
}

function cutting(step: unknown): unknown {
  if (!isObject(step)) return step;
  switch (step['type']) {
    case 'Sequence':
      return Array.isArray(step['pretokenizers']) ? sequence(...step['pretokenizers'].map(cutting)) : step;
    case 'ByteLevel':
      return step['use_regex'] === false
        ? step
        : sequence(
            ...(step['add_prefix_space'] === true ? [replaced(String.raw`\A([^ ])`, ' $1')] : []),
            split(words),
            { ...step, add_prefix_space: false, use_regex: false },
          );
    // All that Unicode calls a number; JavaScript's digits are ASCII's.
    case 'Digits':
      return split(step['individual_digits'] === true ? String.raw`\p{N}` : String.raw`\p{N}+`);
    case 'Metaspace': {
      const before = step['prepend_scheme'] ?? (step['add_prefix_space'] === false ? 'never' : 'always');
      const own = { ...step, prepend_scheme: before, split: false };
      const mark = typeof step['replacement'] === 'string' ? step['replacement'] : '▁';
      return step['split'] === false
        ? own
        : sequence(own, cutting({ type: 'Split', pattern: { String: mark }, behavior: 'MergedWithNext' }));
    }
    case 'Punctuation':
      return cutting({ ...split(punctuation), behavior: step['behavior'] ?? 'Isolated' });
    case 'Whitespace':
      return kept(`[${wordClass}]+|${String.raw`[^${wordClass}\s]`}+`);
    case 'WhitespaceSplit':
      return kept(String.raw`\S+`);
    case 'BertPreTokenizer':
      return sequence(kept(String.raw`\S+`), split(punctuation));
    case 'Split':
      return splitting(step);
    default:
      return step;
  }
}

function splitting(step: Fields): unknown {
  const { pattern, invert } = step;
  const stated = step['behavior'];
  const behavior = typeof stated === 'string' ? stated.toLowerCase() : 'isolated';
  const regex = regexOf(pattern);
  if (regex === undefined) return step;
  const [found, other] = [`(?:${regex})`, String.raw`(?:(?!${regex})[\s\S])+`];
  if (behavior === 'removed') return { ...step, pattern: { Regex: regex } };
  // Whatever matches and whatever does not are pieces then, each by itself.
  if (behavior === 'isolated') return split(regex);
  if (behavior === 'contiguous') return split(`${found}+|${other}`);
  if (invert !== true && behavior === 'mergedwithprevious') return split(`${other}${found}?|${found}`);
  if (invert !== true && behavior === 'mergedwithnext') return split(`${found}${other}|${other}|${found}`);
  throw new TypeError(`it splits with the behavior ${String(stated)}${invert === true ? ', inverted' : ''}`);
}

function regexOf(pattern: unknown): string | undefined {
  if (!isObject(pattern)) return undefined;
  if (typeof pattern['Regex'] === 'string') return pattern['Regex'];
  return typeof pattern['String'] === 'string'
    ? pattern['String'].replaceAll(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`)
    : undefined;
}

function changing(step: unknown): unknown {
  if (!isObject(step)) return step;
  if (step['type'] === 'Sequence' && Array.isArray(step['normalizers']))
    return { ...step, normalizers: step['normalizers'].map(changing) };
  // JavaScript's blanks have the byte order mark, and not the line end of mainframes.
  if (step['type'] === 'Strip')
    return {
      type: 'Sequence',
      normalizers: [
        ...(step['strip_left'] === true ? [replaced(String.raw`\A\s+`, '')] : []),
        ...(step['strip_right'] === true ? [replaced(String.raw`(?<!\s)\s+\z`, '')] : []),
      ],
    };
  // What is empty stays so.
  if (step['type'] === 'Prepend' && typeof step['prepend'] === 'string')
    return replaced(String.raw`\A([\s\S])`, `${step['prepend'].replaceAll('$', '$$$$')}$1`);
  // A dollar is a reference to what was found, in JavaScript.
  return step['type'] === 'Replace' && typeof step['content'] === 'string'
    ? { ...step, content: step['content'].replaceAll('$', '$$$$') }
    : step;
}

/** A step behind the model, as the library holds it. */
interface DecodeStep {
  readonly config: { readonly type: string };
  readonly decoders?: readonly DecodeStep[];
  decode_chain: (tokens: readonly string[]) => string[];
}

/** Has the steps from bytes to text be those of Hugging Face's tokenizers. */
export function decodeBytesExactly(step: DecodeStep | null): void {
  if (step?.config.type === 'ByteFallback') step.decode_chain = wholeBytes;
  step?.decoders?.forEach(decodeBytesExactly);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A run of bytes that is no text in UTF-8 is as many marks as it has bytes; a byte order mark is text like any other. */
function wholeBytes(tokens: readonly string[]): string[] {
  const out: string[] = [];
  let run: number[] = [];
  const end = (): void => {
    if (run.length > 0) out.push(textOf(run));
    run = [];
  };
  for (const token of tokens) {
    const byte = /^<0x([\dA-Fa-f]{2})>$/.exec(token)?.[1];
    if (byte !== undefined) run.push(Number.parseInt(byte, 16));
    else {
      end();
      out.push(token);
    }
  }
  end();
  return out;
}

function textOf(run: readonly number[]): string {
  try {
    return utf8.decode(Uint8Array.from(run));
  } catch {
    return '\u{fffd}'.repeat(run.length);
  }
}

/** A Unigram, as the library holds it. */
interface UnigramModel {
  readonly trie: { readonly common_prefix_search: (characters: readonly string[], start: number) => Iterable<string> };
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly scores: readonly number[];
  readonly unk_score: number;
  encode?: (texts: readonly string[]) => string[];
}

/**
 * Has a Unigram take the best pieces in the original's order (`Unigram::encode_optimized`). The library adds the next piece's score
 * before it compares, which rounds; where pieces can stand in several orders, as in a run of blanks, another one wins then.
 */
export function takeBestPieces(model: object | null): void {
  if (model !== null && 'trie' in model) {
    const unigram = model as UnigramModel;
    unigram.encode = (texts) => texts.flatMap((text) => bestPieces(unigram, Array.from(text)));
  }
}

function bestPieces({ trie, tokens_to_ids: ids, scores, unk_score: unknown }: UnigramModel, characters: string[]) {
  const size = characters.length;
  const best = new Float64Array(size + 1);
  const starts = new Int32Array(size + 1).fill(-1);
  const offer = (start: number, end: number, score: number): void => {
    const all = score + (best[start] ?? 0);
    if (starts[end] !== -1 && !(all > (best[end] ?? 0))) return;
    best[end] = all;
    starts[end] = start;
  };
  for (let start = 0; start < size; start++) {
    let isKnown = false;
    for (const piece of trie.common_prefix_search(characters, start)) {
      const length = Array.from(piece).length;
      offer(start, start + length, scores[ids.get(piece) ?? -1] ?? unknown);
      isKnown ||= length === 1;
    }
    if (!isKnown) offer(start, start + 1, unknown);
  }
  const pieces: string[] = [];
  for (let end = size; end > 0; end = starts[end] ?? 0) pieces.push(characters.slice(starts[end], end).join(''));
  return pieces.toReversed();
}
