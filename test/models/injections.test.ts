// What connectors do inside a language model, through their contract: golden files of single layers, as `inject.apply` gives them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { slice, trace, type Tensor, type Trace } from '../../dsl/index.ts';
import type { AnyConnector, InjectionPlace } from '../../models/connectors/connector.ts';
import { deepStack } from '../../models/connectors/injection/deepstack.ts';
import { flamingo } from '../../models/connectors/injection/flamingo.ts';
import { idefics } from '../../models/connectors/injection/idefics.ts';
import { llama32Vision } from '../../models/connectors/injection/llama-3.2-vision.ts';
import { qwen3VlDeepStack } from '../../models/connectors/injection/qwen3-vl-deepstack.ts';
import { sva } from '../../models/connectors/regions/sva.ts';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-inject-'));
afterAll(() => rmSync(scratch, { recursive: true }));

type Rows = readonly (readonly number[])[];

/** A golden file whose weights stand below `prefix`, where the connector looks for them. */
function below(path: string, prefix: string): GoldenFile {
  const source = openCheckpoint(join(import.meta.dirname, '../golden', path));
  const tensors = [...source.stored.values()].map(({ name, dtype, shape }) => ({
    name: /^(input|output)\./.test(name) ? name : `${prefix}${name}`,
    dtype,
    shape,
    values: Array.from(source.tensor(name), Number),
  }));
  const target = join(scratch, path.replaceAll('/', '-'));
  writeSafetensors(target, tensors, Object.fromEntries(source.metadata));
  source.close();
  return new GoldenFile(target);
}

interface Asked {
  readonly config: object;
  readonly place: InjectionPlace;
  readonly carried: (t: Trace) => Readonly<Record<string, Tensor>>;
  readonly hidden: { readonly name: string; readonly b: number; readonly s: number; readonly e: number };
  readonly slots: Rows;
  readonly pictures?: Rows;
}

/** Hidden states behind the injection, by position. */
function applied(connector: AnyConnector, file: GoldenFile, asked: Asked): readonly Float64Array[] {
  const { inject } = connector;
  if (inject === undefined) throw new Error('it acts inside');
  const { name, b, s, e } = asked.hidden;
  const graph = trace(
    file.checkpoint,
    (t) => {
      const whole = (rows: Rows) => t.constant<'b s', 'i32'>(Float64Array.from(rows.flat()), 'b s', { b, s }, 'i32');
      const { pictures } = asked;
      const { hidden } = inject.apply(
        t.params,
        {
          hidden: t.input(name, 'b s e', { b, s, e }),
          carried: asked.carried(t),
          slots: whole(asked.slots),
          ...(pictures === undefined ? {} : { pictures: () => whole(pictures) }),
        },
        asked.config,
        asked.place,
      );
      return { hidden };
    },
    { unread: ['input.', 'output.'] },
  );
  const names = ['media', 'vision', 'context', 'visual', 'kv_0', 'kv_1', 'kv_2', name];
  const inputs = new Map(
    names.filter((own) => file.has(`input.${own}`)).map((own) => [own, file.numbers(`input.${own}`)]),
  );
  const { outputs } = evaluate(
    graph,
    { inputs, params: (path, shape) => file.checkpoint.read(path, shape) },
    { precision: 'f32' },
  );
  const data = outputs.get('hidden')?.data ?? [];
  return Array.from({ length: b * s }, (_, i) => Float64Array.from({ length: e }, (_e, j) => data[i * e + j] ?? NaN));
}

/** Holds those positions that `which` names against the file. */
function expectRows(
  file: GoldenFile,
  output: string,
  got: readonly Float64Array[],
  which = (_: number) => true,
): number {
  const want = file.numbers(`output.${output}`);
  const bounds = file.config.raw('tolerance_abs') as Readonly<Record<string, number>> | undefined;
  const largest = want.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  let held = 0;
  got.forEach((row, i) => {
    if (!which(i)) return;
    held++;
    row.forEach((x, j) =>
      expect(Math.abs(x - (want[i * row.length + j] ?? NaN)), `position ${i}, channel ${j}`).toBeLessThanOrEqual(
        bounds?.[output] ?? 2e-5 * largest,
      ),
    );
  });
  return held;
}

const table = (values: readonly number[], columns: number): Rows =>
  Array.from({ length: values.length / columns }, (_, i) => values.slice(i * columns, (i + 1) * columns));
const nowhere = (b: number, s: number): Rows => Array.from({ length: b }, () => Array.from({ length: s }, () => -1));

test.each(['', '-all-media'])('Flamingo%s: text sees the latents of the picture before it', (form) => {
  const file = below(`connectors/flamingo-gated-xattn${form}.safetensors`, 'gated_cross_attn_layers.4.');
  const { config } = file;
  const [b = 0, s = 0, e = 0] = file.shape('input.hidden');
  const [, m = 0, n = 0, c = 0] = file.shape('input.media');
  const pictures = table(file.numbers('input.media_locations'), s).map((flags) =>
    flags.map((_, i) => flags.slice(0, i + 1).filter((flag) => flag !== 0).length),
  );
  const got = applied(flamingo, file, {
    config: {
      heads: config.number('heads'),
      headSize: config.number('dim_head'),
      expansion: config.number('ff_mult'),
      immediate: config.flag('only_attend_immediate_media', true),
    },
    place: { layer: 3, index: 0 },
    carried: (t) => ({ media: t.input('media', 'b m n c', { b, m, n, c }) }),
    hidden: { name: 'hidden', b, s, e },
    slots: nowhere(b, s),
    pictures,
  });
  expect(expectRows(file, 'hidden', got)).toBe(b * s);
});

/** Rows see nothing, the first half of the tokens, or all: pictures of these sizes. Every row is held once. */
describe.each([
  [
    'Llama-3.2-Vision',
    llama32Vision,
    'mllama-cross-attention-layer',
    'cross_attention_mask',
    'language_model.layers.3.',
  ],
  ['Idefics', idefics, 'idefics-gated-xattn', 'image_attention_mask', 'gated_cross_attn_layers.0.'],
] as const)('%s: text sees what its picture has', (_title, connector, name, mask, prefix) => {
  const file = below(`connectors/${name}.safetensors`, prefix);
  const { config } = file;
  const [b = 0, s = 0, e = 0] = file.shape('input.hidden');
  const [, n = 0, c = 0] = file.shape('input.vision');
  const sees = file.numbers(file.has('input.gate') ? 'input.gate' : 'input.full_text_row_masked_out_mask');
  const seen = table(file.numbers(`input.${mask}`), n).map((row) => row.filter((x) => x === 0).length);
  const layer = {
    heads: config.number('num_attention_heads'),
    keyValueHeads: config.number('num_key_value_heads', 1),
    headSize: config.number('head_dim', 1),
    intermediate: config.number('intermediate_size'),
    eps: config.number('rms_norm_eps'),
  };
  const options = {
    ...layer,
    added: [3],
    gated: { ...layer, headNorms: config.flag('qk_layer_norms', false), gate: 'number' },
  };
  const run = (tokens: number) =>
    applied(connector, file, {
      config: options,
      place: { layer: 2, index: 0 },
      carried: (t) => {
        const all = t.input('vision', 'b m n c', { b, m: 1, n, c });
        return { media: slice(all, 'n', { size: tokens }) };
      },
      hidden: { name: 'hidden', b, s, e },
      slots: nowhere(b, s),
      pictures: table(
        sees.map((x) => (x === 0 ? 0 : 1)),
        s,
      ),
    });

  test('all of it, half of it, or nothing', () => {
    const isWhole = (i: number) => sees[i] === 0 || seen[i] === n;
    const whole = expectRows(file, 'hidden', run(n), isWhole);
    const half = expectRows(file, 'hidden', run(n / 2), (i) => !isWhole(i));
    expect(Math.min(whole, half)).toBeGreaterThan(0);
    expect(whole + half).toBe(b * s);
  });
});

test.each([
  ['Qwen3-VL', qwen3VlDeepStack, 'level_1'],
  ['DeepStack', deepStack, 'stack_1'],
] as const)('%s: one level is added at the visual positions', (_title, connector, name) => {
  const file = below('connectors/qwen3vl-deepstack-inject.safetensors', '');
  const [b = 0, s = 0, e = 0] = file.shape('input.hidden');
  const flags = table(file.numbers('input.visual_pos_masks'), s);
  const slots = flags.map((row) =>
    row.map((flag, i) => (flag === 0 ? -1 : row.slice(0, i).filter((x) => x !== 0).length)),
  );
  const counts = flags.map((row) => row.filter((flag) => flag !== 0).length);
  const rows = table(file.numbers('input.visual_embeds'), e);
  const most = Math.max(...counts);
  // Each sample's own rows; those that are missing are never read.
  const own = counts.map((count, sample) => {
    const start = counts.slice(0, sample).reduce((sum, x) => sum + x, 0);
    return Array.from({ length: most }, (_, i) =>
      i < count ? (rows[start + i] ?? []) : new Array<number>(e).fill(1e9),
    );
  });
  const got = applied(connector, file, {
    config: {},
    place: { layer: 1, index: 1 },
    carried: (t) => ({
      [name]: t.constant<'b n e', 'f32'>(Float64Array.from(own.flat(2)), 'b n e', { b, n: most, e }),
    }),
    hidden: { name: 'hidden', b, s, e },
    slots,
  });
  expect(expectRows(file, 'hidden', got)).toBe(b * s);
});

test('SVA: a cell reads its region of every encoder', () => {
  const file = below('cambrian/sampler_d1.safetensors', 'vision_sampler_layers.2.');
  const [b = 0, , e = 0] = file.shape('input.queries');
  const sides = [0, 1, 2].map((k) => Math.sqrt(file.size(`input.kv_${k}`, 1)));
  const got = applied(sva, file, {
    config: { groups: [1], side: 1, depth: 3, heads: file.config.number('num_heads'), width: e, newline: false },
    place: { layer: 6, index: 2 },
    carried: (t) => ({
      context: t.input('context', 'b c', { b, c: file.size('input.context', 2) }),
      ...Object.fromEntries(
        sides.map((side, k) => [
          `map_${k}`,
          t.input(`kv_${k}`, 'b h w c', { b, h: side, w: side, c: file.size(`input.kv_${k}`, 2) }),
        ]),
      ),
      ...Object.fromEntries(
        sides.map((side, k) => [
          `mask_${k}`,
          t.constant<'b q t', 'i32'>(file.numbers(`input.mask_${k}`), 'b q t', { b, q: 1, t: side ** 2 }, 'i32').gt(0),
        ]),
      ),
    }),
    hidden: { name: 'queries', b, s: 1, e },
    slots: Array.from({ length: b }, () => [0]),
  });
  expect(expectRows(file, 'queries', got)).toBe(b);
});
