// What learns of an opened model, by its family.
import { OpabiniaError } from '../../dsl/error.ts';
import { AssembledFamily } from '../answer/families/assembled.ts';
import { CambrianFamily } from '../answer/families/cambrian.ts';
import type { OpenedModel } from '../answer/open-model.ts';
import { assembledTrainable } from './assembled-trainable.ts';
import { cambrianTrainable } from './cambrian-trainable.ts';
import type { Trainable, TrainableOptions } from './trainable.ts';

/** Throws `OpabiniaError` for a model of a family that no recipe trains. */
export function trainableOf(opened: OpenedModel, options: TrainableOptions): Trainable {
  const { family } = opened;
  if (family instanceof CambrianFamily) return cambrianTrainable(opened, family, options);
  if (family instanceof AssembledFamily) return assembledTrainable(opened, family, options);
  throw new OpabiniaError(`${opened.directory} is neither a Cambrian nor an assembled model`, {
    op: 'train',
    advice:
      'recipes train those, and `opabinia assemble` makes one of any language model; other models bring a Trainable of their own to `trainStage`',
  });
}
