// What learns of an opened model, by its family.
import { OpabiniaError } from '../../dsl/error.ts';
import { pictureTokenCount } from '../../models/multimodal/assembled-model.ts';
import { AssembledFamily } from '../answer/families/assembled.ts';
import { CambrianFamily } from '../answer/families/cambrian.ts';
import type { OpenedModel } from '../answer/open-model.ts';
import { assembledTrainable } from './assembled-trainable.ts';
import { cambrianPictureTokens, cambrianTrainable } from './cambrian-trainable.ts';
import type { LabelRules } from './label-rules.ts';
import type { Trainable, TrainableOptions } from './trainable.ts';

/** Throws `OpabiniaError` for a model of a family that no recipe trains. */
export function trainableOf(opened: OpenedModel, options: TrainableOptions): Trainable {
  const { family } = opened;
  if (family instanceof CambrianFamily) return cambrianTrainable(opened, family, options);
  if (family instanceof AssembledFamily) return assembledTrainable(opened, family, options);
  throw untrained(opened);
}

/** How samples are laid for an opened model. Throws `OpabiniaError` as `trainableOf`. */
export function labelRulesOf(opened: OpenedModel, length: number, independent = false): LabelRules {
  const { family, tokenizer } = opened;
  const rules = { tokenizer, length, independent };
  if (family instanceof CambrianFamily)
    return { ...rules, template: family.template, pictureTokens: cambrianPictureTokens(family) };
  if (family instanceof AssembledFamily)
    return { ...rules, template: family.template, pictureTokens: pictureTokenCount(family.model) };
  throw untrained(opened);
}

function untrained(opened: OpenedModel): OpabiniaError {
  return new OpabiniaError(`${opened.directory} is neither a Cambrian nor an assembled model`, {
    op: 'train',
    advice:
      'recipes train those, and `opabinia assemble` makes one of any language model; other models bring a Trainable of their own to `trainStage`',
  });
}
