// Attention over the tokens of regions as re-association leaves it: scores of tokens as they are, other scores beside, one softmax, weighted means.
import { symbolSize, type Size } from '../../dsl/axis/axis.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import {
  concat,
  einsum,
  layerNorm,
  randomParams,
  reduce,
  slice,
  softmax,
  trace,
  type Float,
  type Tensor,
} from '../../dsl/index.ts';

type Any = Tensor<string, Float>;

export interface RegionCase {
  /** Regions: b × q; b is a symbol where it is 'symbolic'. */
  readonly regions: readonly [number | 'symbolic', number];
  readonly heads: number;
  /** Tokens of each part: scored and averaged as they are. */
  readonly parts: readonly number[];
  readonly depth: number;
  /** Keys whose scores are products of their own, or stored values. */
  readonly others: readonly { readonly keys: number; readonly scores: 'product' | 'stored' }[];
  /** Others stand in front of the parts. */
  readonly othersFirst: boolean;
  /** What is made of the others' weights: a sum of their values, or the weights themselves are an output. */
  readonly wanted: 'sums' | 'weights';
  readonly mask: 'none' | 'keys' | 'regions';
  /** Tokens are normalised in the graph: with parameters, or not at all, or others read them too. */
  readonly norm: 'none' | 'own' | 'read elsewhere';
  readonly dtype: Float;
}

const head = 4;

export function regionGraph(c: RegionCase): { readonly graph: Graph; readonly symbols: ReadonlyMap<string, number> } {
  const symbols = new Map<string, number>();
  const graph = trace(randomParams(1, { dtype: c.dtype }), (t) => {
    const [batch, q] = c.regions;
    const b: Size = batch === 'symbolic' ? symbolSize({ name: 'b', least: 1, bound: 3 }) : batch;
    if (batch === 'symbolic') symbols.set('b', 2);
    const input = (name: string, axes: string, sizes: Record<string, Size>): Any => {
      const all: Record<string, Size> = { b, q, h: c.heads, ...sizes };
      const own = Object.fromEntries(axes.split(' ').map((axis) => [axis, all[axis] ?? 1]));
      return t.input(name, axes, own, c.dtype) as Any;
    };
    const outputs: Record<string, Any> = {};
    const parts = c.parts.map((size, k) => {
      const raw = input(`tokens${k}`, 'b q t c', { t: size, c: c.depth });
      const tokens = c.norm === 'none' ? raw : (layerNorm(t.params.at(`norm${k}`), raw as Tensor<'b q t c'>) as Any);
      if (c.norm === 'read elsewhere') outputs[`total${k}`] = reduce(tokens, 'b q t c -> b q c', 'sum') as Any;
      const query = input(`query${k}`, 'b q h c', { c: c.depth });
      return { size, tokens, scores: einsum(query, tokens, 'b q h c, b q t c -> b q h t') as Any };
    });
    const others = c.others.map(({ keys, scores }, k) => ({
      size: keys,
      tokens: undefined,
      scores:
        scores === 'stored'
          ? input(`scores${k}`, 'b q h t', { t: keys })
          : (einsum(
              input(`q${k}`, 'b q h d', { d: head }),
              input(`k${k}`, 'b q t h d', { t: keys, d: head }),
              'b q h d, b q t h d -> b q h t',
            ) as Any),
    }));
    const sections = c.othersFirst ? [...others, ...parts] : [...parts, ...others];
    const keys = sections.reduce((sum, { size }) => sum + size, 0);
    const joined =
      sections.length === 1
        ? sections[0]?.scores
        : concat(
            sections.map((s) => s.scores),
            't',
          );
    if (joined === undefined) throw new TypeError('no scores');
    let logits = joined.cast('f32').mul(0.5) as Any;
    if (c.mask !== 'none') {
      const mask =
        c.mask === 'keys'
          ? t.input('mask', 't', { t: keys }, 'bool')
          : t.input('mask', 'b q t', { b, q, t: keys }, 'bool');
      logits = logits.where(mask as Tensor<'t', 'bool'>, -3e38) as Any;
    }
    const weights = softmax(logits as Tensor<'b q h t', 'f32'>, 't').cast(c.dtype) as Any;
    let start = 0;
    sections.forEach(({ size, tokens }, k) => {
      const share = (sections.length === 1 ? weights : slice(weights as Tensor<'t'>, 't', { start, size })) as Any;
      start += size;
      if (tokens !== undefined) outputs[`mean${k}`] = einsum(share, tokens, 'b q h t, b q t c -> b q h c') as Any;
      else if (c.wanted === 'sums')
        outputs[`sum${k}`] = einsum(
          share,
          input(`value${k}`, 'b q t h d', { t: size, d: head + 1 }),
          'b q h t, b q t h d -> b q h d',
        ) as Any;
    });
    if (c.wanted === 'weights') outputs['weights'] = weights;
    return outputs;
  });
  return { graph, symbols };
}
