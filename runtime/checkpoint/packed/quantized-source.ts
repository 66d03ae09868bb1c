// Weights quantized as they are loaded.
import { nearestNames, OpabiniaError } from '../../../dsl/error.ts';
import type { StorageFormat } from '../../../dsl/storage/format.ts';
import { q4_0 } from '../../../dsl/storage/q4.ts';
import { q8_0 } from '../../../dsl/storage/q8-0.ts';
import type { Source } from '../joined-source.ts';
import { encodeRows } from './encode-rows.ts';
import { planeSource } from './plane-source.ts';
import type { BlockRows } from './block-rows.ts';

export const weightFormats = { q4: q4_0, q8: q8_0 } as const satisfies Record<string, StorageFormat>;

export interface QuantizeOptions {
  readonly format: keyof typeof weightFormats;
  /** Globs of paths, `*` for anything: what is quantized, and what of that is not. All matrices but tables of positions by default. */
  readonly only?: readonly string[] | undefined;
  readonly except?: readonly string[] | undefined;
  /** Elements of the smallest matrix that is worth it. */
  readonly least?: number | undefined;
}

const fewestElements = 4096;

/**
 * `source` with its matrices quantized. A tensor of another rank, a small one, or one that is left out stays as it is stored. Nothing is
 * read before it is asked for. Throws `OpabiniaError` for a glob that nothing is named like, and for a wanted matrix that is stored quantized;
 * reading throws `OpabiniaError` for weights that are not finite, or whose scales would not be.
 * @example const small = quantizedSource(checkpoint, { format: 'q4', except: ['lm_head.*'] })
 */
export function quantizedSource(source: Source, options: QuantizeOptions): Source {
  const format = weightFormats[options.format];
  const isWanted = quantizedPaths(options);
  const names = source.names();
  if (names !== undefined) {
    const all = [...names];
    checkGlobs(options, all);
    refuseTwice(source, all, isWanted);
  }
  return planeSource(source, (path) => {
    const shape = source.shape(path);
    return shape !== undefined && isWanted(path, shape)
      ? encodedRows(source, path, shape, format)
      : source.blocks?.(path);
  });
}

/** Rounding codes once more would lose what the first rounding has left, unseen. */
function refuseTwice(
  source: Source,
  names: readonly string[],
  isWanted: (path: string, shape: readonly number[]) => boolean,
): void {
  for (const path of names) {
    const [shape, stored] = [source.shape(path), source.blocks?.(path)];
    if (shape !== undefined && stored !== undefined && isWanted(path, shape))
      throw new OpabiniaError(`the matrix is quantized already, as ${stored.format.name}`, {
        op: 'quantize',
        path,
        advice: 'leave out --weights, keep such matrices by --keep, or take the checkpoint that they were made from',
      });
  }
}

/** Throws `OpabiniaError` for a glob that none of these paths has: what it was meant for would be treated like the rest, unseen. */
export function checkGlobs({ only = [], except = [] }: QuantizeOptions, names: readonly string[]): void {
  const idle = [...only, ...except].find((glob) => {
    const pattern = globPattern(glob);
    return !names.some((name) => pattern.test(name));
  });
  if (idle !== undefined)
    throw new OpabiniaError(`no tensor is named like '${idle.slice(0, 80)}'`, {
      op: 'quantize',
      advice: `globs are of whole paths, with * for anything; the nearest are ${nearestNames(idle, names).join(', ')}`,
    });
}

/** Whether a tensor of this path and shape is one of those that are quantized. */
export function quantizedPaths({
  only,
  except = [],
  least = fewestElements,
}: Omit<QuantizeOptions, 'format'>): (path: string, shape: readonly number[]) => boolean {
  const wanted = (only ?? ['*']).map(globPattern);
  const unwanted = [...except, ...(only === undefined ? ['*position*', '*pos_embed*'] : [])].map(globPattern);
  return (path, shape) =>
    shape.length === 2 &&
    shape.reduce((product, size) => product * size, 1) >= least &&
    wanted.some((glob) => glob.test(path)) &&
    !unwanted.some((glob) => glob.test(path));
}

function encodedRows(source: Source, path: string, shape: readonly number[], format: StorageFormat): BlockRows {
  const [, inner = 1] = shape;
  const filled = Math.ceil(inner / format.block) * format.block;
  return {
    format,
    read(first, count) {
      const values =
        source.part?.(path, shape, first * inner, count * inner) ??
        source.read(path, shape).subarray(first * inner, (first + count) * inner);
      if (filled === inner && values instanceof Float32Array) return encodeRows(format, values, path);
      const wide = new Float32Array(count * filled);
      for (let row = 0; row < count; row++) wide.set(values.subarray(row * inner, (row + 1) * inner), row * filled);
      return encodeRows(format, wide, path);
    },
  };
}

function globPattern(glob: string): RegExp {
  return new RegExp(
    `^${glob
      .split('*')
      .map((part) => RegExp.escape(part))
      .join('.*')}$`,
  );
}
