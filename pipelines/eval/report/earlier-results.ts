// What a folder of results says before it is written anew.
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import { readRegular } from '../../../runtime/files/regular-file.ts';

const schema = z.looseObject({ benchmarks: z.array(z.looseObject({ name: z.string() })) });
const mostBytes = 256 * 2 ** 20;

/** Names of the benchmarks in a `results.json` that are not among these: they are no longer there once it is written. None where it cannot be read. */
export function leftOut(path: string, names: readonly string[]): readonly string[] {
  if (!existsSync(path)) return [];
  try {
    const { benchmarks } = schema.parse(JSON.parse(readRegular(path, mostBytes, 'eval').toString('utf8')));
    return benchmarks.map(({ name }) => name).filter((name) => !names.includes(name));
  } catch (cause) {
    if (cause instanceof OpabiniaError || cause instanceof SyntaxError || cause instanceof z.ZodError) return [];
    throw cause;
  }
}
