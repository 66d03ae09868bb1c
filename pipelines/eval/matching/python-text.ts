// Texts as Python's `str` sees them: the rules of benchmarks are written in it, and JavaScript's `trim` and `\s` know another space.

const space = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const spaces = new RegExp(`${space.source}+`);
const around = new RegExp(`^${space.source}+|${space.source}+$`, 'g');

/** `text.strip()`. */
export function strip(text: string): string {
  return text.replace(around, '');
}

/** `text.split()`. */
export function words(text: string): readonly string[] {
  return text.split(spaces).filter((word) => word !== '');
}

/** `text.lstrip(characters)`. */
export function stripLeft(text: string, characters: string): string {
  let from = 0;
  while (from < text.length && characters.includes(text.charAt(from))) from++;
  return text.slice(from);
}

/** `text.rstrip(characters)`. */
export function stripRight(text: string, characters: string): string {
  let to = text.length;
  while (to > 0 && characters.includes(text.charAt(to - 1))) to--;
  return text.slice(0, to);
}

/** `text[0]`, a code point. */
export function firstCharacter(text: string): string {
  return [...text][0] ?? '';
}

const number = /^[+-]?(?:(?:\d+(?:_\d+)*)(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/i;
const infinite = /^([+-]?)inf(?:inity)?$/i;

/** A digit of any script as Python takes it: ten stand behind one another, zero first. */
function plainDigit(digit: string): string {
  const code = digit.codePointAt(0) ?? 0;
  let zero = code;
  while (/\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero--;
  return String((code - zero) % 10);
}

/** `float(text)`, or undefined where Python raises ValueError. */
export function pythonFloat(text: string): number | undefined {
  const bare = strip(text).replace(/\p{Nd}/gu, plainDigit);
  if (number.test(bare)) return Number(bare.replaceAll('_', ''));
  if (/^[+-]?nan$/i.test(bare)) return NaN;
  const found = infinite.exec(bare);
  return found === null ? undefined : found[1] === '-' ? -Infinity : Infinity;
}
