// A model's parameters with what the stages of a run have learned: a tensor of the last stage that has it, and low-rank additions folded in.
import { openCheckpoint, type Checkpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { matchesAny } from '../step/groups.ts';
import { loraPaths, type LoraGroup } from '../step/lora.ts';

/** Before the path of a parameter, where the optimizer's file has its moving average. */
export const averagePrefix = 'ema.';

/** What one stage wrote, and which low-rank additions it had. */
export interface LearnedStage {
  readonly path: string;
  readonly lora?: readonly LoraGroup[] | undefined;
  /** The file is the optimizer's: the moving averages in it stand for the weights. */
  readonly averages?: boolean | undefined;
}

/** A product B·A that a stage adds to a matrix `[out, in]`, times `alpha / rank`. */
export interface Addition {
  readonly rank: number;
  readonly alpha: number;
  /** Of the matrix: out and in. */
  readonly shape: readonly [out: number, fan: number];
  /** A `[rank, in]`. */
  readonly narrow: () => Float32Array;
  /** B `[out, rank]`. */
  readonly wide: () => Float32Array;
}

export interface LearnedSource extends Source {
  /** Whether any stage changed the parameter. */
  readonly isLearned: (path: string) => boolean;
  /** Whether a stage wrote the parameter itself. */
  readonly isWhole: (path: string) => boolean;
  /** What stages have added to a matrix since the last one that wrote it whole, the earliest first. */
  readonly additions: (path: string) => readonly Addition[];
  /** Names in the files of the stages, low-rank additions as they are. */
  readonly learned: readonly string[];
  readonly close: () => void;
}

interface OpenStage {
  readonly checkpoint: Checkpoint;
  readonly lora: readonly LoraGroup[];
  /** Before a parameter's path in the file. */
  readonly prefix: string;
}

/** `stages`: the earliest first. Files are open until `close`. Throws `OpabiniaError` for one that cannot be read. */
export function learnedSource(base: Source, stages: readonly LearnedStage[]): LearnedSource {
  const open: OpenStage[] = [];
  const close = (): void => {
    for (const { checkpoint } of open) checkpoint.close();
  };
  try {
    for (const { path, lora = [], averages = false } of stages)
      open.push({ checkpoint: openCheckpoint(path), lora, prefix: averages ? averagePrefix : '' });
  } catch (error) {
    close();
    throw error;
  }
  const has = ({ checkpoint, prefix }: OpenStage, path: string): boolean => checkpoint.stored.has(prefix + path);
  const additionOf = (stage: OpenStage, path: string): Addition | undefined => {
    const { a, b } = loraPaths(path);
    // Of groups that mean the same weight the last one counts, as in training.
    const group = stage.lora.findLast(({ paths }) => matchesAny(path, paths));
    if (group === undefined || !has(stage, a)) return undefined;
    const { rank, alpha = rank } = group;
    const { checkpoint, prefix } = stage;
    const sizeOf = (name: string, axis: number): number => checkpoint.stored.get(prefix + name)?.shape[axis] ?? 1;
    const shape = [sizeOf(b, 0), sizeOf(a, 1)] as const;
    return {
      rank,
      alpha,
      shape,
      narrow: () => checkpoint.read(prefix + a, [rank, shape[1]]),
      wide: () => checkpoint.read(prefix + b, [shape[0], rank]),
    };
  };
  const isLearned = (path: string): boolean =>
    open.some((stage) => has(stage, path) || additionOf(stage, path) !== undefined);
  const lastWhole = (path: string): number => open.findLastIndex((stage) => has(stage, path));
  const additions = (path: string): readonly Addition[] =>
    open.slice(Math.max(0, lastWhole(path))).flatMap((stage) => additionOf(stage, path) ?? []);
  /** `count` values from element `start` on. */
  const part = (path: string, shape: readonly number[], start: number, count: number): Float32Array => {
    const whole = open[lastWhole(path)];
    const values = new Float32Array(
      whole?.checkpoint.part(whole.prefix + path, shape, start, count) ??
        base.part?.(path, shape, start, count) ??
        base.read(path, shape).subarray(start, start + count),
    );
    const [, columns = 1] = shape;
    for (const { rank, alpha, ...own } of additions(path)) {
      const [scale, narrow, wide] = [alpha / rank, own.narrow(), own.wide()];
      for (let i = 0; i < count; i++) {
        const [row, column] = [Math.floor((start + i) / columns), (start + i) % columns];
        let sum = 0;
        for (let r = 0; r < rank; r++) sum += (wide[row * rank + r] ?? 0) * (narrow[r * columns + column] ?? 0);
        values[i] = (values[i] ?? 0) + scale * sum;
      }
    }
    return values;
  };
  return {
    ...base,
    names: () => base.names(),
    shape: (path) => {
      const own = open[lastWhole(path)];
      return base.shape(path) ?? own?.checkpoint.shape(own.prefix + path);
    },
    storedAs: (path) => (isLearned(path) ? undefined : base.storedAs?.(path)),
    blocks: (path) => (isLearned(path) ? undefined : base.blocks?.(path)),
    read: (path, shape) =>
      isLearned(path)
        ? part(
            path,
            shape,
            0,
            shape.reduce((product, size) => product * size, 1),
          )
        : base.read(path, shape),
    part: (path, shape, start, count) => part(path, shape, start, count),
    storedPart: (path, shape, dtype, start, count) =>
      isLearned(path) ? undefined : base.storedPart?.(path, shape, dtype, start, count),
    isLearned,
    isWhole: (path) => lastWhole(path) >= 0,
    additions,
    learned: open.flatMap(({ checkpoint, prefix }) =>
      [...checkpoint.stored.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
    ),
    close,
  };
}
