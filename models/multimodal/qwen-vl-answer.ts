// Qwen2.5-VL and Qwen3-VL that answer token by token on the device: a graph for each grid of patches, three positions a token, and
// features of Qwen3-VL's tower behind the language model's first layers.
import {
  randomParams,
  roleOf,
  trace,
  type Graph,
  type Params,
  type ParamSource,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { order } from '../../dsl/graph/walk.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import { decoderShapes } from '../configs/decoder-shapes.ts';
import { shapedParams, type Shapes } from '../configs/param-shapes.ts';
import { embedTokens } from '../decoders/decoder.ts';
import { decodeGraph, prefillGraph, type GenerationSizes } from '../decoders/generation-graphs.ts';
import type { FrameGrid } from '../towers/patch-sequence.ts';
import { addAtPictures, insertPictures } from './picture-prompts.ts';
import { mergedGrids, qwenVlParams, qwenVlPictures, type QwenVl } from './qwen-vl-model.ts';

/** Tokens of pictures that fit: those of all prompts, were they nothing else. */
function rowLimit({ batch, promptLimit }: GenerationSizes): number {
  return batch * promptLimit;
}

interface Stored {
  readonly tokens: Tensor<'r e', 'f32' | 'f16'>;
  readonly added: readonly Tensor<'r e', 'f32' | 'f16'>[];
}

function openRows(t: Trace, model: QwenVl, r: number, dtype: 'f32' | 'f16'): Stored {
  const e = model.language.config.hidden;
  const taps = model.vision.kind === 'qwen3' ? model.vision.taps : [];
  return {
    tokens: t.state('image_tokens', 'r e', { r, e }, dtype),
    added: taps.map((_, k) => t.state<'r e', 'f32' | 'f16'>(`image_added_${k}`, 'r e', { r, e }, dtype)),
  };
}

/** Numbers of a patch. */
export function patchSize({ vision: { patch } }: QwenVl): number {
  return patch.reduce((product, size) => product * size, 1);
}

/** Tokens of a picture of this grid of patches. */
export function gridTokens(grid: FrameGrid, model: QwenVl): number {
  return (mergedGrids([grid], model)[0] ?? [0, 0, 0]).reduce((product, size) => product * size, 1);
}

/**
 * One picture: input `patches` `n k`, squares of patches that are merged behind one another; symbol `first`, the row of its first token.
 * No outputs: tokens, and what layers are given, go into states.
 */
export function qwenVisionGraph(source: ParamSource, model: QwenVl, grid: FrameGrid, sizes: GenerationSizes): Graph {
  const n = grid[0] * grid[1] * grid[2];
  const limit = rowLimit(sizes);
  return trace(
    source,
    (t) => {
      const patches = t.input<'n k', 'f32' | 'f16'>('patches', 'n k', { n, k: patchSize(model) }, source.dtype);
      const made = qwenVlPictures(qwenVlParams(t.params).tower, patches, [grid], model);
      const first = t.symbol('first', { atLeast: 0, upTo: limit - gridTokens(grid, model) });
      const states = openRows(t, model, limit, source.dtype);
      t.update(states.tokens, made.tokens, { r: first });
      states.added.forEach((state, k) => {
        const rows = made.added[k];
        if (rows !== undefined) t.update(state, rows, { r: first });
      });
      return {};
    },
    { unread: 'ignore' },
  );
}

/** Where decoding finds the language model, whose positions go on from where pictures left them. */
export const qwenDecodeParts = { root: (root: Params): Params => qwenVlParams(root).language, shifted: true } as const;

/** `prefillGraph` with pictures: inputs `slots`, `place_time`, `place_row` and `place_column`, all `b s`. */
export function qwenPrefillGraph(source: ParamSource, model: QwenVl, sizes: GenerationSizes): Graph {
  const { language } = model;
  return prefillGraph(source, language, sizes, {
    ...qwenDecodeParts,
    look: (t, ids) => {
      const integers = (name: string): Tensor<'b s', 'i32'> =>
        t.input(name, 'b s', { b: sizes.batch, s: ids.sizeOf('s') }, 'i32');
      const slots = integers('slots');
      const { tokens, added } = openRows(t, model, rowLimit(sizes), source.dtype);
      return {
        start: insertPictures(embedTokens(qwenDecodeParts.root(t.params), language.config, ids), tokens, slots),
        vision: undefined,
        places: [integers('place_time'), integers('place_row'), integers('place_column')],
        layers: (decoder) => ({
          layers: decoder.layers,
          layer: (hidden, index) => {
            const out = decoder.layer(hidden, index);
            const rows = added[index];
            return rows === undefined ? out : addAtPictures(out, rows, slots);
          },
        }),
      };
    },
  });
}

/** `decodeGraph` over the same states: the pictures have been read. */
export function qwenDecodeGraph(source: ParamSource, model: QwenVl, sizes: GenerationSizes): Graph {
  return decodeGraph(source, model.language, sizes, qwenDecodeParts);
}

/** Names and shapes of all parameters, by whichever names are stored; those of the hub where none are. */
export function qwenVlShapes(model: QwenVl, stored: Shapes = new Map()): Shapes {
  const { merge, kind } = model.vision;
  const source = stored.size === 0 ? randomParams(0) : shapedParams(stored, randomParams(0));
  const tower = trace(
    source,
    (t) => {
      const grid: FrameGrid = [1, merge, merge];
      const patches = t.input('patches', 'n k', { n: merge * merge, k: patchSize(model) });
      const { tokens, added } = qwenVlPictures(qwenVlParams(t.params).tower, patches, [grid], model);
      return { tokens, ...Object.fromEntries(added.map((rows, k) => [`added_${k}`, rows])) };
    },
    { unread: 'ignore' },
  );
  const read = order(tower).filter((node) => roleOf(node) === 'param');
  const sizes = read.map(
    (node) => [nameOf(node), node.type.axes.map(({ size }) => (typeof size === 'number' ? size : 0))] as const,
  );
  const nested = stored.size === 0 ? kind === 'qwen3' : stored.has('model.language_model.embed_tokens.weight');
  const language = [...decoderShapes(model.language)].map(
    ([name, shape]) => [nested ? name.replace(/^model\./, 'model.language_model.') : name, shape] as const,
  );
  return new Map([...sizes, ...language]);
}
