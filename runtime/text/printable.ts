// Text of strangers for a terminal: what would move the cursor, change its title or turn the direction of reading becomes visible.

/** Controls but line break and tab, DEL, those of the upper half, and marks that reorder what is read. */
const control = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Controls as `\u001b`: inside of JSON they mean what they meant. */
export function printable(text: string): string {
  return text.replace(control, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
