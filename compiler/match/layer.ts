// Which layer of a model a node belongs to, by its path.

/** The part of a model path up to the last numbered layer: K and V of one layer are siblings, those of two layers are not. */
export function layerOf(path: string): string {
  const names = path.split('.');
  const last = names.findLastIndex(
    (name, i) => /^\d+$/.test(name) && i + 1 < names.length && !/^\d+$/.test(names[i + 1] ?? ''),
  );
  return names.slice(0, last + 1).join('.');
}
