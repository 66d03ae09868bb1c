// Numbers with the word for what they count.

/** `1 tower`, `2 towers`; `plural` where an s does not make it. */
export function counted(count: number, one: string, plural = `${one}s`): string {
  return `${count} ${count === 1 ? one : plural}`;
}
