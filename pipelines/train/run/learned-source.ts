// A model's parameters with what the stages of a run have learned: a tensor of the last stage that has it, and low-rank additions folded in.
import { openCheckpoint, type Checkpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { matchesAny } from '../step/groups.ts';
import { loraPaths, type LoraGroup } from '../step/lora.ts';

/** What one stage wrote, and which low-rank additions it had. */
export interface LearnedStage {
  readonly path: string;
  readonly lora?: readonly LoraGroup[] | undefined;
}

export interface LearnedSource extends Source {
  /** Whether any stage changed the parameter. */
  readonly isLearned: (path: string) => boolean;
  /** Names in the files of the stages, low-rank additions as they are. */
  readonly learned: readonly string[];
  readonly close: () => void;
}

interface OpenStage {
  readonly checkpoint: Checkpoint;
  readonly lora: readonly LoraGroup[];
}

/** `stages`: the earliest first. Files are open until `close`. Throws `OpabiniaError` for one that cannot be read. */
export function learnedSource(base: Source, stages: readonly LearnedStage[]): LearnedSource {
  const open: OpenStage[] = [];
  const close = (): void => {
    for (const { checkpoint } of open) checkpoint.close();
  };
  try {
    for (const { path, lora = [] } of stages) open.push({ checkpoint: openCheckpoint(path), lora });
  } catch (error) {
    close();
    throw error;
  }
  const has = (stage: OpenStage, path: string): boolean => stage.checkpoint.stored.has(path);
  const addition = (stage: OpenStage, path: string) => {
    const { a, b } = loraPaths(path);
    // Of groups that mean the same weight the last one counts, as in training.
    const group = stage.lora.findLast(({ paths }) => matchesAny(path, paths));
    return group === undefined || !has(stage, a)
      ? undefined
      : { a, b, scale: (group.alpha ?? group.rank) / group.rank, rank: group.rank };
  };
  const isLearned = (path: string): boolean =>
    open.some((stage) => has(stage, path) || addition(stage, path) !== undefined);
  /** `count` values from element `start` on. */
  const part = (path: string, shape: readonly number[], start: number, count: number): Float32Array => {
    const whole = open.findLastIndex((stage) => has(stage, path));
    const values = new Float32Array(
      open[whole]?.checkpoint.part(path, shape, start, count) ??
        base.part?.(path, shape, start, count) ??
        base.read(path, shape).subarray(start, start + count),
    );
    for (const stage of open.slice(Math.max(0, whole))) {
      const own = addition(stage, path);
      if (own === undefined) continue;
      const [rows = 1, columns = 1] = shape;
      const narrow = stage.checkpoint.read(own.a, [own.rank, columns]);
      const wide = stage.checkpoint.read(own.b, [rows, own.rank]);
      for (let i = 0; i < count; i++) {
        const [row, column] = [Math.floor((start + i) / columns), (start + i) % columns];
        let sum = 0;
        for (let r = 0; r < own.rank; r++) sum += (wide[row * own.rank + r] ?? 0) * (narrow[r * columns + column] ?? 0);
        values[i] = (values[i] ?? 0) + own.scale * sum;
      }
    }
    return values;
  };
  return {
    ...base,
    names: () => base.names(),
    shape: (path) => base.shape(path) ?? open.findLast((stage) => has(stage, path))?.checkpoint.shape(path),
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
    learned: open.flatMap(({ checkpoint }) => [...checkpoint.stored.keys()]),
    close,
  };
}
