// The loss of an assembled model over a batch.
import { rearrange, type Params, type Tensor, type Trace } from '../../dsl/index.ts';
import { embedded, tokensOf, type AssembledModel } from './assembled-model.ts';
import { sequenceLoss, type SequenceSizes } from './cambrian-training.ts';

/**
 * Σ of the cross-entropy of the next token over the labels that count, from the towers' maps: inputs `features_{k}`, `b h w c` with b the
 * pictures of the batch, `ids`, `slots`, and those of `sequenceLoss`.
 */
export function assembledLoss(
  t: Trace,
  root: Params,
  model: AssembledModel,
  sizes: SequenceSizes & { readonly pictures: number; readonly dtype: 'f32' | 'f16' },
): Tensor<'', 'f32'> {
  const { batch: b, length: s, pictures } = sizes;
  const maps = model.towers.map(({ map: [h, w, c] }, k) =>
    t.input(`features_${k}`, 'b h w c', { b: pictures, h, w, c }).cast(sizes.dtype),
  );
  const integers = (name: string): Tensor<'b s', 'i32'> => t.input(name, 'b s', { b, s }, 'i32');
  const rows = rearrange(tokensOf(root, maps, model), 'b n e -> r=(b n) e');
  const start = embedded(root, model, integers('ids'), rows, integers('slots'));
  return sequenceLoss(t, root, model.language, sizes, start);
}
