// Golden kinds of whole models with pictures: a prompt with all its intermediates, then eight steps over the cache it left.
import { slice, trace, type Params, type Tensor, type Trace } from '../../../dsl/index.ts';
import { asObject, type ConfigJson } from '../../../models/configs/fields.ts';
import {
  embedTokens,
  finalNorm,
  logitsOf,
  openCache,
  openTurn,
  type LanguageModel,
} from '../../../models/decoders/decoder.ts';
import { turnGraph, turnTables } from '../../../models/decoders/turn-graph.ts';
import {
  insertPictures,
  pictureBlocks,
  pictureSights,
  pictureSlots,
  promptStates,
  ropePositions,
  type PictureTokens,
  type RopePositions,
} from '../../../models/multimodal/picture-prompts.ts';
import {
  mergedGrids,
  qwenVl,
  qwenVlParams,
  qwenVlPictures,
  type QwenVlType,
} from '../../../models/multimodal/qwen-vl-model.ts';
import {
  gemma3Vl,
  gemma3VlParams,
  gemma3VlPictures,
  smolVlm,
  smolVlmParams,
  smolVlmPictures,
} from '../../../models/multimodal/siglip-vlm.ts';
import { channelsLast } from '../../../models/towers/tower.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import type { GoldenFile } from '../golden-file.ts';
import type { Kind } from '../kind.ts';
import { modelTolerance } from '../verdict.ts';
import { weightsOf } from './language-model.ts';
import { frameGrids } from './patch-towers.ts';

/** Makes what the pictures of a file become, and tells other outputs of it. */
interface Whole {
  readonly language: LanguageModel;
  readonly imageToken: number;
  readonly languageParams: (root: Params) => Params;
  readonly pictures: (
    t: Trace,
    feeds: Map<string, Numbers>,
    take: (name: string, value: Tensor) => void,
  ) => {
    readonly tokens: PictureTokens;
    readonly added?: readonly PictureTokens[] | undefined;
  };
  /** Where tokens have three positions. */
  readonly positions?: ((ids: readonly number[]) => RopePositions) | undefined;
  /** Pictures see all of themselves. */
  readonly blocks?: boolean | undefined;
}

const kind =
  (read: (file: GoldenFile, json: ConfigJson) => Whole): Kind =>
  (file) => {
    const json = asObject(JSON.parse(file.checkpoint.metadata.get('config') ?? 'null'), file.path);
    const whole = read(file, json);
    const { language } = whole;
    const { config } = language;
    const ids = file.numbers('input.input_ids');
    const s = ids.length;
    const steps = file.size('output.decode_logits', 0);
    const places = whole.positions?.(ids) ?? { positions: Int32Array.from(ids, (_, i) => i), delta: 0 };
    const feeds = new Map<string, Numbers>([
      ['ids', ids],
      ...Object.entries(turnTables(config, places.positions, undefined, s)),
    ]);
    const source = weightsOf(file);
    const sizes = { batch: 1, capacity: s + steps };
    const wanted = new Set(file.outputs);
    const outputs: Record<string, Tensor> = {};
    const prefill = trace(
      source,
      (t) => {
        const take = (name: string, value: Tensor): void => {
          if (wanted.has(name)) outputs[name] = value;
        };
        const root = whole.languageParams(t.params);
        const { tokens, added = [] } = whole.pictures(t, feeds, take);
        take('image_features', tokens);
        added.forEach((each, i) => take(`deepstack${i}`, each));
        feeds.set('slots', pictureSlots(ids, whole.imageToken, tokens.size('r')));
        const slots = t.input('slots', 'b s', { b: 1, s }, 'i32');
        const text = embedTokens(root, config, t.input('ids', 'b s', { b: 1, s }, 'i32'));
        const start = insertPictures(text, tokens, slots);
        const cache = openCache(t, config, { ...sizes, past: 0, dtype: source.dtype });
        const plain = openTurn(t, config, { batch: 1, length: s, cache });
        const turn = whole.blocks === true ? pictureSights(t, language, plain, blocksOf(t, feeds, ids, whole)) : plain;
        const states = promptStates(root.at('model'), language, turn, start, added, slots);
        const normed = finalNorm(root, config, states.last);
        take('embeddings', start);
        take('block0', states.outputs[0] ?? start);
        take('penultimate', states.outputs.at(-2) ?? start);
        take('final_norm', normed);
        const logits = logitsOf(root, config, normed);
        take('prefill_logits', logits);
        outputs['own.last'] = slice(logits, 's', { start: s - 1, size: 1 });
        return outputs;
      },
      { unread: ['vision_model.head', 'model.vision_model.head', 'vision_tower.vision_model.head'] },
    );
    const decode = turnGraph(lax(source), language, { ...sizes, promptLimit: 1, root: whole.languageParams });
    return {
      inputs: new Map(),
      host: new Map<string, Numbers>([
        ['position_ids', places.positions],
        ['rope_delta', [places.delta]],
      ]),
      tolerance: (name) => (name === 'greedy_tokens' ? { absolute: 0, relative: 0 } : modelTolerance),
      exact: (name) => name === 'greedy_tokens',
      training: {
        graphs: [prefill, decode],
        states: { has: () => false, read: () => new Float32Array(0) },
        hold: async ({ steps: [first, next] }) => {
          const all = new Map(await first?.(feeds, new Map()));
          const expected = file.numbers('output.greedy_tokens');
          const tokens = [largest(all.get('own.last') ?? [])];
          const rows: number[] = [];
          for (let k = 0; k < steps; k++) {
            const past = s + k;
            const tables = Object.entries(turnTables(config, [past + places.delta]));
            const read = await next?.(
              new Map<string, Numbers>([['ids', [expected[k] ?? 0]], ...tables]),
              new Map([['past', past]]),
            );
            rows.push(...Array.from(read?.get('logits') ?? []));
            tokens.push(read?.get('token')?.[0] ?? -1);
          }
          return new Map<string, ArrayLike<number>>([...all, ['decode_logits', rows], ['greedy_tokens', tokens]]);
        },
      },
    };
  };

function blocksOf(
  t: Trace,
  feeds: Map<string, Numbers>,
  ids: readonly number[],
  { imageToken }: Whole,
): Tensor<'b s', 'i32'> {
  feeds.set('block', pictureBlocks(ids, imageToken));
  return t.input('block', 'b s', { b: 1, s: ids.length }, 'i32');
}

const largest = (scores: ArrayLike<number>): number => {
  const all = Array.from(scores);
  return all.indexOf(all.reduce((most, score) => Math.max(most, score), -Infinity));
};

/** A decode step reads no tower, which is not a fault of the file. */
function lax(source: ReturnType<typeof weightsOf>): ReturnType<typeof weightsOf> {
  return { ...source, names: () => [] };
}

const qwen = (type: QwenVlType): Kind =>
  kind((file, json) => {
    const model = qwenVl(json, type, file.path);
    const grids = frameGrids(file);
    return {
      language: model.language,
      imageToken: model.imageToken,
      languageParams: (root) => qwenVlParams(root).language,
      positions: (ids) => ropePositions(ids, model.imageToken, mergedGrids(grids, model)),
      pictures: (t, feeds) => {
        const [n, k] = [file.size('input.pixel_values', 0), file.size('input.pixel_values', 1)];
        feeds.set('pixels', file.numbers('input.pixel_values'));
        const patches = t.input('pixels', 'n k', { n, k }, file.dtype);
        return qwenVlPictures(qwenVlParams(t.params).tower, patches, grids, model);
      },
    };
  });

export const qwen25Vl = qwen('qwen2_5_vl');
export const qwen3Vl = qwen('qwen3_vl');

export const smolVlmKind = kind((file, json) => {
  const model = smolVlm(json, file.path);
  return {
    language: model.language,
    imageToken: model.imageToken,
    languageParams: (root) => smolVlmParams(root).language,
    pictures: (t, feeds, take) => {
      const [, count = 1, c = 3, h = 1, w = 1] = file.shape('input.pixel_values');
      const pixels = file.numbers('input.pixel_values');
      const each = c * h * w;
      // Pictures of nothing but zeros fill a batch.
      const kept = Array.from({ length: count }, (_, i) => i).filter((i) =>
        pixels.slice(i * each, (i + 1) * each).some((x) => x !== 0),
      );
      feeds.set(
        'pixels',
        kept.flatMap((i) => pixels.slice(i * each, (i + 1) * each)),
      );
      const input = t.input('pixels', 'b c h w', { b: kept.length, c, h, w }, file.dtype);
      const name = 'input.pixel_attention_mask';
      const mask = file.has(name) ? file.numbers(name) : undefined;
      const { patch } = model.vision;
      const [rows, columns] = [Math.floor(h / patch), Math.floor(w / patch)];
      const valid = kept.map((i) =>
        Array.from({ length: rows * columns }, (_, n) => {
          if (mask === undefined) return true;
          const [y, x] = [Math.floor(n / columns) * patch, (n % columns) * patch];
          for (let dy = 0; dy < patch; dy++)
            for (let dx = 0; dx < patch; dx++) if (mask[i * h * w + (y + dy) * w + x + dx] !== 0) return true;
          return false;
        }),
      );
      const seen = smolVlmPictures(smolVlmParams(t.params).body, channelsLast(input), valid, model);
      take('vision_last_hidden_state', seen.encoded);
      return seen;
    },
  };
});

export const gemma3VlKind = kind((file, json) => {
  const model = gemma3Vl(json, file.path);
  return {
    language: model.language,
    imageToken: model.imageToken,
    languageParams: (root) => gemma3VlParams(root).language,
    blocks: true,
    pictures: (t, feeds, take) => {
      const [b = 1, c = 3, h = 1, w = 1] = file.shape('input.pixel_values');
      feeds.set('pixels', file.numbers('input.pixel_values'));
      const pixels = t.input('pixels', 'b c h w', { b, c, h, w }, file.dtype);
      const seen = gemma3VlPictures(gemma3VlParams(t.params).body, channelsLast(pixels), model);
      take('vision_last_hidden_state', seen.encoded);
      return seen;
    },
  };
});
