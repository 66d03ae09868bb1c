// `str.strip` of Python, which is not `trim` of JavaScript.

/** Python's blanks: not the byte order mark, which is one of JavaScript's. */
const isBlank = (character: string): boolean => /[\p{White_Space}\x1c-\x1f]/u.test(character);

/** A text without blanks, or others, at its ends. */
export function trimmed(
  text: string,
  side: 'both' | 'left' | 'right' = 'both',
  goes: (character: string) => boolean = isBlank,
): string {
  let [start, end] = [0, text.length];
  if (side !== 'right') while (start < end && goes(text.charAt(start))) start++;
  if (side !== 'left') while (end > start && goes(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}
