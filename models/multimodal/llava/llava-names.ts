// The two sets of names under which the parameters of a LLaVA or an InternVL stand.
import type { Params, ParamSource } from '../../../dsl/index.ts';
import { under, type ShapeEntry, type Shapes } from '../../configs/param-shapes.ts';
import { withModelAt } from '../../decoders/language-params.ts';

/**
 * How transformers names the parameters. old: `language_model.model.…`, as the published checkpoints have them; new: all but
 * `lm_head` below `model`, and the language model's own `model` left out.
 */
export type LlavaNames = 'old' | 'new';

export const projectorName = 'multi_modal_projector';

/** Which names a checkpoint has; old ones where it has neither, so that errors name those. */
export function llavaNames(source: Pick<ParamSource, 'shape'>): LlavaNames {
  return source.shape(`model.${projectorName}.linear_1.weight`) === undefined ? 'old' : 'new';
}

/** All names and shapes, of those in the body and those of the language model by itself. */
export function placedShapes(names: LlavaNames, body: readonly ShapeEntry[], language: Iterable<ShapeEntry>): Shapes {
  if (names === 'old') return new Map([...body, ...under('language_model', language)]);
  return new Map([
    ...under('model', body),
    ...[...language].map(([name, shape]): ShapeEntry => [name.replace(/^model\./, 'model.language_model.'), shape]),
  ]);
}

/** What holds tower, projector and newline. */
export function bodyOf(root: Params, names: LlavaNames): Params {
  return names === 'old' ? root : root.at('model');
}

/** The language model's parameters as it has them by itself, below `model` and `lm_head`; their paths stay the checkpoint's. */
export function languageParams(root: Params, names: LlavaNames): Params {
  if (names === 'old') return root.at('language_model');
  return withModelAt(root, root.at('model', 'language_model'));
}

/** A path of the tower, the projector or the newline in the checkpoint. */
export function inBody(names: LlavaNames, path: string): string {
  return names === 'old' ? path : `model.${path}`;
}
