// What gated cross-attention layers inside a language model share: text that sees pictures, through gates that start closed.
import { repeat, rearrange, tanh, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import type { Queries } from '../sequence/regions.ts';
import { placesOf } from './selection.ts';
import type { Sequence } from './attention.ts';

export type Hidden = Tensor<'b s e', Float>;
/** For each position of the text a picture, counted from 1; 0: none. */
export type PictureOf = Tensor<'b s', 'i32'>;
/** True where a position may see a token of a picture. */
export type Sight = Tensor<'b q n', 'bool'>;

export const asStream = (hidden: Hidden): Queries => rearrange(hidden, 'b s e -> b q=(s) c=(e)');
export const asHidden = (stream: Queries): Hidden => rearrange(stream, 'b q c -> b s=(q) e=(c)');

/** `stream + tanh(gate) · branch`; the gate is one number, or one for each channel. */
export function gatedSum(
  p: Params,
  gate: string,
  stream: Queries,
  branch: Queries,
  kind: GateKind = 'number',
): Queries {
  if (kind === 'number') return stream.add(branch.mul(tanh(p.get(gate, 'i', { i: 1 }).at('i', 0))));
  const vector = p
    .get(gate, 'i j c', { i: 1, j: 1, c: stream.size('c') })
    .at('i', 0)
    .at('j', 0);
  return stream.add(branch.mul(tanh(vector)));
}

export type GateKind = 'number' | 'vector';

/** Tokens of all pictures `b m n c` one behind the other, and which positions of the text see them: those of its own picture, or of all before. */
export function picturesInSight(
  media: Tensor<'b m n c', Float>,
  picture: PictureOf,
  sees: 'its own' | 'all before',
): { readonly context: Sequence; readonly sight: Sight } {
  const sizes = { n: media.sizeOf('n') };
  const number = rearrange(repeat(placesOf(media, 'm').add(1), 'm -> m n', sizes), 'm n -> n=(m n)');
  const context = rearrange(media, 'b m n c -> b n=(m n) c');
  const own = repeat(rearrange(picture, 'b s -> b q=(s)'), 'b q -> b q n', { n: context.sizeOf('n') });
  return { context, sight: sees === 'its own' ? own.eq(number) : own.ge(number) };
}
