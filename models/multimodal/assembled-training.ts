// The loss of an assembled model over a batch.
import { rearrange, type Params, type Tensor, type Trace } from '../../dsl/index.ts';
import { embedded, mapsOfPixels, visualOf, type AssembledModel } from './assembled-model.ts';
import { sequenceLoss, type SequenceSizes } from './cambrian-training.ts';

/**
 * Σ of the cross-entropy of the next token over the labels that count, from the towers' maps: inputs `features_{k}`, `b h w c` with b the
 * pictures of the batch (`pixels_{k}` where towers learn), `ids`, `slots`, and those of `sequenceLoss`.
 */
export function assembledLoss(
  t: Trace,
  root: Params,
  model: AssembledModel,
  sizes: SequenceSizes & {
    readonly pictures: number;
    readonly dtype: 'f32' | 'f16';
    readonly towersLearn?: boolean | undefined;
    /** Whether the losses that the connector adds are in it. Default true. */
    readonly learns?: boolean | undefined;
  },
): Tensor<'', 'f32'> {
  const { batch: b, length: s, pictures, dtype } = sizes;
  const seen = model.towers.map(({ map, side }, k) => {
    const [h, w, c] = sizes.towersLearn === true ? [side, side, 3] : map;
    const name = sizes.towersLearn === true ? `pixels_${k}` : `features_${k}`;
    return t.input(name, 'b h w c', { b: pictures, h, w, c }).cast(dtype);
  });
  const maps = sizes.towersLearn === true ? mapsOfPixels(root, model, seen) : seen;
  const integers = (name: string): Tensor<'b s', 'i32'> => t.input(name, 'b s', { b, s }, 'i32');
  const visual = visualOf(root, maps, model);
  const rows = rearrange(visual.tokens, 'b n e -> r=(b n) e');
  const start = embedded(root, model, integers('ids'), rows, integers('slots'));
  return sequenceLoss(t, root, model.language, sizes, start, undefined, sizes.learns === false ? undefined : visual);
}
