// How much of what could be tried is tried: `npm test` takes a fair part of everything, `npm run test:all` all of it.

/** `npm run test:all`. */
export const everything = process.env['OPABINIA_ALL'] === '1';

/** Of two amounts the one for this run. */
export function share<T>(part: T, all: T): T {
  return everything ? all : part;
}
