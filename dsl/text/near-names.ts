// «Did you mean» for a name that somebody typed: only names that are really near, and else what there is.
import { editDistance } from './edit-distance.ts';

/** Letters that a part of a name must have to be one. */
const leastPart = 3;

/**
 * At most `count` names, nearest first, as far as one slip in three letters, or that begin with, hold or lie in what was wanted. None
 * where nothing is near: a far name is noise.
 */
export function nearNames(wanted: string, known: Iterable<string>, count = 3): readonly string[] {
  const asked = wanted.toLowerCase();
  const scored = [...new Set(known)]
    .map((name) => ({ name, distance: distanceOf(asked, name.toLowerCase()) }))
    .filter(({ distance }) => distance < Infinity);
  scored.sort((a, b) => a.distance - b.distance || a.name.length - b.name.length || (a.name < b.name ? -1 : 1));
  return scored.slice(0, count).map(({ name }) => name);
}

function distanceOf(asked: string, name: string): number {
  const slips = editDistance(asked, name);
  const most = Math.max(1, Math.floor(asked.length / 3));
  return Math.min(slips <= most ? slips : Infinity, partDistance(asked, name));
}

function partDistance(asked: string, name: string): number {
  if (Math.min(asked.length, name.length) < leastPart) return Infinity;
  if (name.startsWith(asked) || asked.startsWith(name)) return 2;
  return name.includes(asked) || asked.includes(name) ? 3 : Infinity;
}

/** `the nearest are a, b; there are a, b, c`; without what is near the rest alone. `otherwise`: where the names are listed, if not here. */
export function nameAdvice(
  wanted: string,
  known: readonly string[],
  otherwise = known.length === 0 ? 'there are none' : `there are ${[...new Set(known)].join(', ')}`,
): string {
  const near = nearNames(wanted.slice(0, 80), known);
  if (near.length === 0) return otherwise;
  return `the nearest ${near.length === 1 ? 'is' : 'are'} ${near.join(', ')}; ${otherwise}`;
}
