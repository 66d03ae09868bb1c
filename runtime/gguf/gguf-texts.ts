// Texts of a header, read once more: the library drops a byte order mark in front of one, which SentencePiece has tokens with, and cuts the
// last text of a list where one of its pieces of the file ends.

const textType = 8;
const listType = 9;
/** Bytes of the other types by their number. */
const widths: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

/**
 * Settings that are a text or a list of texts, in the order of the file and however often; `bytes` are those of `count` settings, which the
 * library has parsed. Throws `RangeError` where they end early.
 */
export function headerTexts(
  bytes: Buffer,
  count: number,
): readonly (readonly [string, string | string[] | undefined])[] {
  let at = 0;
  const u32 = (): number => bytes.readUInt32LE((at += 4) - 4);
  const u64 = (): number => u32() + u32() * 2 ** 32;
  const text = (): string => {
    const length = u64();
    if (length > bytes.length - at) throw new RangeError(`a text of ${length} bytes at ${at}`);
    return bytes.toString('utf8', at, (at += length));
  };
  const value = (type: number): string | string[] | undefined => {
    if (type === textType) return text();
    if (type !== listType) {
      at += widths[type] ?? 0;
      return undefined;
    }
    const [of, length] = [u32(), u64()];
    if (of === textType) return Array.from({ length }, text);
    if (of === listType) for (let i = 0; i < length; i++) value(of);
    else at += length * (widths[of] ?? 0);
    return undefined;
  };
  return Array.from({ length: count }, () => [text(), value(u32())] as const);
}
