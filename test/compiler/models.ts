// Models for tests of the compiler: parts of a pre-norm transformer and of the SVA, with parameters of any size.
import {
  attention,
  gelu,
  layerNorm,
  linear,
  rearrange,
  repeat,
  trace,
  type Float,
  type Params,
  type ParamSource,
  type Tensor,
} from '../../dsl/index.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { visionTokenSampler } from '../../models/parts/sva/aggregator.ts';
import { numbersFor } from './judge.ts';

/** A checkpoint in which `shape` says the size of every tensor. */
export function sourceOf(shape: (path: string) => readonly number[] | undefined): ParamSource {
  return {
    dtype: 'f32',
    shape,
    names: () => undefined,
    read: (path, wanted) =>
      Float32Array.from(
        numbersFor(
          path,
          wanted.reduce((a, b) => a * b, 1),
        ),
      ),
  };
}

/** Shapes of an SVA layer of width `c`. */
export function svaSource(c: number): ParamSource {
  return sourceOf((path) => {
    if (path.endsWith('proj_in.weight')) return [c, 2 * c];
    // As many positions as the region has tokens: the model says.
    if (/pos_embed_\d$/.test(path)) return undefined;
    if (/vision_query$|(_proj(_\d)?\.0|norm)\.(weight|bias)$/.test(path)) return [c];
    return [c, c];
  });
}

/** A vision sampler over four encoders with these tokens a region; its first queries are the same everywhere. */
export function sampler(depth: number, c = 16, queries = 9, tokens = [1, 1, 1, 4]): Graph {
  return trace(svaSource(c), (t) => {
    const regions = tokens.map((size, k) => t.input(`x${k}`, 'b q t c', { b: 2, q: queries, t: size, c }));
    const context = t.input('context', 'b c', { b: 2, c });
    const query = repeat(t.params.get('vision_query', 'c'), 'c -> b q c', { b: 2, q: queries });
    return { y: visionTokenSampler(t.params.at('vision_sampler_0'), query, { context, regions }, { depth, heads: 4 }) };
  });
}

/** Shapes of blocks of width `c` with an MLP four times as wide; what is not of a block is square. */
export function square(c: number): ParamSource {
  const shapes: readonly (readonly [string, readonly number[]])[] = [
    ['up.bias', [4 * c]],
    ['bias', [c]],
    ['norm.weight', [c]],
    ['norm1.weight', [c]],
    ['norm2.weight', [c]],
    ['up.weight', [4 * c, c]],
    ['down.weight', [c, 4 * c]],
  ];
  return sourceOf((path) => shapes.find(([end]) => path.endsWith(end))?.[1] ?? [c, c]);
}

/** One block: attention and MLP, each behind a norm, each added to its input. */
export function block(p: Params, x: Tensor<'b n c', Float>, heads: number): Tensor<'b n c', Float> {
  const normed = layerNorm(p.at('norm1'), x);
  const split = (name: string) =>
    rearrange(linear(p.at('attn', name), normed, 'c'), 'b n (h d) -> b n h d', { h: heads });
  const keys = (name: string) => rearrange(split(name), 'b n h d -> b t=(n) h d');
  const read = attention(split('q'), keys('k'), keys('v'), { key: 't', along: 'd' });
  const middle = x.add(linear(p.at('attn', 'o'), rearrange(read, 'b n h d -> b n c=(h d)'), 'c'));
  return middle.add(
    linear(p.at('mlp', 'down'), gelu(linear(p.at('mlp', 'up'), layerNorm(p.at('norm2'), middle), 'f')), 'c'),
  );
}

/** The same sampler over rows of one query each, every encoder with its mask. */
export function maskedSampler(depth: number, c: number, rows: number, tokens: readonly number[], heads: number): Graph {
  return trace(svaSource(c), (t) => {
    const regions = tokens.map((size, k) => t.input(`x${k}`, 'b q t c', { b: rows, q: 1, t: size, c }));
    const masks = tokens.map((size, k) => t.input(`mask${k}`, 'b q t', { b: rows, q: 1, t: size }, 'bool'));
    const context = t.input('context', 'b c', { b: rows, c });
    const query = t.input('query', 'b q c', { b: rows, q: 1, c });
    return { y: visionTokenSampler(t.params, query, { context, regions, masks }, { depth, heads }) };
  });
}
