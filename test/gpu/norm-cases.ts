// A product, what is added to it, a norm of it, and products behind: what stands between the halves of a block.
import {
  layerNorm,
  linear,
  randomParams,
  rmsNorm,
  silu,
  trace,
  type Float,
  type Graph,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';

export interface NormChoice {
  readonly norm: 'layer' | 'rms';
  /** What reads the norm. */
  readonly behind: 'one' | 'three' | 'gated' | 'same name' | 'two norms';
  readonly rows: number;
  /** Columns of what is normalised, and terms of the product in front of it. */
  readonly columns: number;
  readonly terms?: number;
  /** Of what is between the products; they are of half precision. */
  readonly stream?: 'f16' | 'f32';
  /** The number of rows is known when it runs. */
  readonly symbolic?: boolean;
}

type Rows = Tensor<'b n c', Float>;

export const normParams = randomParams(1, { dtype: 'f16' });

export function normGraph({
  norm,
  behind,
  rows,
  columns,
  terms = 48,
  stream = 'f16',
  symbolic = false,
}: NormChoice): Graph {
  return trace(normParams, (t) => {
    const n = symbolic ? t.symbol('rows', { upTo: rows + 3 }) : rows;
    const made = linear(t.params.at('front'), t.input('x', 'b n i', { b: 1, n, i: terms }, 'f16'), 'c', {
      size: columns,
    });
    const before = t.input('before', 'b n c', { b: 1, n, c: columns }, stream);
    const x: Rows = before.add(stream === 'f32' ? made.cast('f32') : made);
    const normed = (p: Params, kind: NormChoice['norm']): Rows => {
      const y = kind === 'layer' ? layerNorm(p, x) : rmsNorm(p, x);
      return y.cast('f16');
    };
    const y = normed(t.params.at('norm'), norm);
    const to = (name: string, from: Rows, size: number) => linear(t.params.at(name), from, 'o', { size });
    switch (behind) {
      case 'one':
        return { x, y: to('out', y, 68) };
      case 'three':
        return { x, q: to('q', y, 64), k: to('k', y, 96), v: to('v', y, 64) };
      case 'gated':
        return { x, y: silu(to('gate', y, 72)).mul(to('up', y, 72)) };
      case 'same name':
        return { x, y: linear(t.params.at('out'), y, 'c', { size: columns }) };
      case 'two norms':
        return {
          x,
          y: to('out', y, 68),
          z: to('other', normed(t.params.at('norm2'), norm === 'layer' ? 'rms' : 'layer'), 80),
        };
      default:
        return behind satisfies never;
    }
  });
}
