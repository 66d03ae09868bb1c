// Numbers with the word for what they count.

/** `1 tower`, `2 towers`; `many` where an s does not make it. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
