// What `tune` has measured of a device: tiles by what a kernel computes. Kept in a file for each adapter, driver and version of Dawn; it makes
// kernels faster and never decides what they compute.
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';
import { writeFileAtomic } from '../files/atomic-file.ts';
import { contentKey } from '../files/content-key.ts';
import { packageVersion } from '../files/package-files.ts';
import { readRegular, statOf } from '../files/regular-file.ts';
import type { DeviceFacts } from './device.ts';
import { makeFolder } from '../files/make-folder.ts';

/** By what a kernel computes, the name of the tile that was the fastest. */
export type Tiles = Readonly<Record<string, string>>;

/** What times depend on. */
export interface TunedFor {
  readonly adapter: string;
  readonly driver: string;
  /** Of the package that brings Dawn. */
  readonly dawn: string;
}

const schema = z.strictObject({
  version: z.literal(1),
  adapter: z.string(),
  driver: z.string(),
  dawn: z.string(),
  tiles: z.record(z.string().max(300), z.string().max(100)),
});

const mostBytes = 4 * 2 ** 20;

/** A tuning file that is none, or is of another device. */
export class TuningError extends OpabiniaError {
  constructor(what: string, cause?: unknown) {
    super(what, {
      op: 'tuning',
      cause,
      advice: 'make it on this machine: opabinia tune; or leave it out: OPABINIA_TUNING=off',
    });
    this.name = new.target.name;
  }
}

export function tunedFor({ name, vendor, architecture, driver }: DeviceFacts): TunedFor {
  const adapter = [name, vendor, architecture].filter((word) => word !== '').join(', ');
  return { adapter, driver, dawn: packageVersion('webgpu') };
}

/** Where the tiles of a device are kept: below `XDG_CACHE_HOME`, or `~/.cache`. */
export function tuningPath(facts: DeviceFacts, env: NodeJS.ProcessEnv = process.env): string {
  const { adapter, driver, dawn } = tunedFor(facts);
  const word = facts.name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 40);
  const cache = env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(cache, 'opabinia', 'tuning', `${word}-${contentKey([adapter, driver, dawn]).slice(0, 12)}.json`);
}

/** Throws `TuningError` for a file that is damaged, or of another adapter, driver or version of Dawn. */
export function readTuning(path: string, facts: DeviceFacts): Tiles {
  let found: z.infer<typeof schema>;
  try {
    found = schema.parse(JSON.parse(readRegular(path, mostBytes, 'tuning').toString('utf8')));
  } catch (cause) {
    if (cause instanceof OpabiniaError) throw new TuningError(cause.what, cause);
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : cause instanceof Error ? cause.message : '';
    throw new TuningError(`${path} is not a tuning file: ${why}`, cause);
  }
  const own = tunedFor(facts);
  for (const key of ['adapter', 'driver', 'dawn'] as const)
    if (found[key] !== own[key])
      throw new TuningError(`${path} is of another ${key}: '${found[key]}', and here it is '${own[key]}'`);
  return found.tiles;
}

/**
 * The tiles to open a device with. `off`: none. A path: those of that file, which must be of this device. By default what the environment
 * variable `OPABINIA_TUNING` says, in the same words, or what is kept for this device; a kept file that cannot be read is told of and left out.
 */
export function tilesFor(
  facts: DeviceFacts,
  wanted: string | undefined = process.env['OPABINIA_TUNING'],
): Tiles | undefined {
  if (wanted === 'off') return undefined;
  if (wanted !== undefined && wanted !== '') return readTuning(wanted, facts);
  const path = tuningPath(facts);
  try {
    return statOf(path, 'tuning') === undefined ? undefined : readTuning(path, facts);
  } catch (error) {
    if (!(error instanceof OpabiniaError)) throw error;
    process.emitWarning(`${error.what}; it is left out`, 'OpabiniaTuningWarning');
    return undefined;
  }
}

/** Adds tiles to those that are kept. Throws `OpabiniaError`; what was kept is untouched then. */
export function keepTiles(facts: DeviceFacts, tiles: Tiles, path = tuningPath(facts)): void {
  let known: Tiles = {};
  try {
    if (statOf(path, 'tuning') !== undefined) known = readTuning(path, facts);
  } catch (error) {
    // What cannot be read is written anew.
    if (!(error instanceof TuningError)) throw error;
  }
  makeFolder(dirname(path));
  const all = Object.fromEntries(Object.entries({ ...known, ...tiles }).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const content = { version: 1, ...tunedFor(facts), tiles: all } satisfies z.infer<typeof schema>;
  writeFileAtomic(path, `${JSON.stringify(content, undefined, 2)}\n`, { op: 'tune' });
}
