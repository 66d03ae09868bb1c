// The parameters of a model as a stage trains them: those of the checkpoint, and low-rank additions where the stage has some.
import type { Params } from '../../dsl/index.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import type { OpenedModel } from '../answer/open-model.ts';
import type { Stage } from './recipe/recipe.ts';
import { withLora } from './step/lora.ts';
import type { Trainable } from './trainable.ts';

export interface Learnable {
  readonly parameters: Pick<Trainable, 'source' | 'paths'>;
  /** What the loss reads its parameters from. */
  readonly wrap: (p: Params) => Params;
}

/** `names`: every parameter that the loss reads. */
export function learnable(
  { source }: Pick<OpenedModel, 'source'>,
  names: readonly string[],
  stage: Stage,
  seed: number,
): Learnable {
  if (stage.lora === undefined) return { parameters: { source, paths: names }, wrap: (p) => p };
  const lora = withLora(source, stage.lora, names, seed);
  return {
    parameters: { source: withParts(lora.source, source), paths: [...names, ...lora.paths] },
    wrap: (p) => lora.wrap(p),
  };
}

/** A source whose own tensors are read whole, and the others' as before. */
function withParts(source: Trainable['source'] | Omit<Source, 'part'>, base: Source): Source {
  const known = new Set(base.names() ?? []);
  return {
    ...source,
    part: (path, shape, start, count) =>
      known.has(path) && base.part !== undefined
        ? base.part(path, shape, start, count)
        : source.read(path, shape).subarray(start, start + count),
    storedPart: (path, shape, dtype, start, count) =>
      known.has(path) ? base.storedPart?.(path, shape, dtype, start, count) : undefined,
  };
}
