/** Controls, and marks that reorder what is read. */
const unseen = /[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** A name out of a stranger's file, for a message: on one line, cut off behind `most` characters, what cannot be seen as `\u001b`. */
export function oneLine(name: string, most = 120): string {
  const short = name.length > most ? `${name.slice(0, most)}…` : name;
  return short.replace(unseen, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
