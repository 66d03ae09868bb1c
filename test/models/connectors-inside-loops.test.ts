// What LLaVA-Mini and PyramidDrop do with the language model, against plain loops over numbers: their golden files hold parts of them alone.
import { expect, test } from 'vitest';
import { llavaMini } from '../../models/connectors/selection/llava-mini.ts';
import { pyramidDrop } from '../../models/connectors/selection/pyramiddrop.ts';
import { attend, close, computed, linear, rmsNorm, seed, type Vector } from '../support/plain-mathematics.ts';

const width = 8;
const rows = (count: number, k: number): readonly Vector[] =>
  Array.from({ length: count }, (_, i) => Array.from({ length: width }, (_e, e) => seed(k)(i * width + e)));
const sum = (x: Vector, y: Vector): Vector => x.map((v, i) => v + (y[i] ?? 0));

/** The two halves of each head turned by the angles of a position. */
function turned(x: Vector, at: number, heads: number): Vector {
  const size = width / heads;
  return x.map((value, e) => {
    const d = e % size;
    const angle = at / 10000 ** ((2 * (d % (size / 2))) / size);
    const other = x[e - d + ((d + size / 2) % size)] ?? NaN;
    return value * Math.cos(angle) + (d < size / 2 ? -other : other) * Math.sin(angle);
  });
}

/** A causal decoder layer of Llama's kind. */
function decoderLayer(path: string, x: readonly Vector[], heads: number, inner: number): readonly Vector[] {
  const map = (name: string, v: Vector, out: number) => linear(`${path}.${name}`, v, out, false);
  const normed = x.map((v) => rmsNorm(`${path}.input_layernorm`, v, 1e-5));
  const [q, k, v] = ['q', 'k', 'v'].map((name) => normed.map((one) => map(`self_attn.${name}_proj`, one, width)));
  if (q === undefined || k === undefined || v === undefined) throw new Error('three were made');
  const place = (of: readonly Vector[]) => of.map((one, i) => turned(one, i, heads));
  const read = attend(place(q), place(k), v, heads, (query, key) => key <= query);
  return x.map((one, i) => {
    const after = sum(one, map('self_attn.o_proj', read[i] ?? [], width));
    const fed = rmsNorm(`${path}.post_attention_layernorm`, after, 1e-5);
    const up = map('mlp.up_proj', fed, inner);
    const gated = map('mlp.gate_proj', fed, inner).map((g, o) => (g / (1 + Math.exp(-g))) * (up[o] ?? 0));
    return sum(after, map('mlp.down_proj', gated, width));
  });
}

test('LLaVA-Mini: patches, queries and text go through the layers together; queries and text go on', () => {
  const [heads, inner, fusion] = [2, 12, 2];
  const [all, few, prompt] = [rows(4, 1), rows(2, 2), rows(6, 3)];
  // Two tokens of text, the picture's two, two of text; what stands at the picture's places is not read.
  const slots = [-1, -1, 0, 1, -1, -1];
  const text = prompt.filter((_, i) => slots[i] === -1);
  let x: readonly Vector[] = [...all, ...few, ...text];
  for (let i = 0; i < fusion; i++) x = decoderLayer(`prefusion_layers.${i}`, x, heads, inner);
  let next = all.length + few.length;
  const want = slots.map((slot) => x[slot < 0 ? next++ : all.length + slot] ?? []);
  const language = {
    hidden_size: width,
    intermediate_size: inner,
    num_hidden_layers: fusion,
    num_attention_heads: heads,
    vocab_size: 1,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 64,
  };
  const inputs = new Map([
    ['all', all.flat()],
    ['few', few.flat()],
    ['hidden', prompt.flat()],
    ['slots', slots],
  ]);
  const got = computed(width, inputs, (t) => {
    const state = {
      hidden: t.input('hidden', 'b s e', { b: 1, s: 6, e: width }),
      slots: t.input('slots', 'b s', { b: 1, s: 6 }, 'i32'),
      carried: {
        all: t.input('all', 'b n e', { b: 1, n: 4, e: width }),
        few: t.input('few', 'b n e', { b: 1, n: 2, e: width }),
      },
    };
    const { inject } = llavaMini;
    if (inject === undefined) throw new Error('it acts inside');
    const config = { side: 1, heads, eps: 1e-5, fusion, language };
    expect(inject.after(config, 32)).toEqual([-1]);
    return inject.apply(t.params, state, config, { layer: -1, index: 0 }).hidden;
  });
  expect(got.length).toBe(want.length);
  // Cosines and sines are a table in f32.
  got.forEach((row, i) => row.forEach((v, e) => expect(Math.abs(v - (want[i]?.[e] ?? NaN))).toBeLessThan(1e-5)));
});

test.each([
  { index: 0, visual: 8, left: 4 },
  { index: 1, visual: 4, left: 2 },
])('PyramidDrop, stage $index: $left of $visual stay, in order, numbered anew', ({ index, visual, left }) => {
  const config = { layers: [2, 5], ratios: [1, 0.5, 0.25] };
  const s = visual + 3;
  const hidden = rows(s, 4);
  const slots = hidden.map((_, i) => (i >= 1 && i < 1 + visual ? i - 1 : -1));
  // The last token attends to text most of all, and text is kept whatever its score.
  const scores = slots.map((slot, i) => (slot < 0 ? i / 100 : ((slot * 5 + 3) % visual) / visual));
  const best = slots
    .flatMap((slot, i) => (slot < 0 ? [] : [i]))
    .toSorted((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0))
    .slice(0, left);
  const want = hidden.filter((_, i) => slots[i] === -1 || best.includes(i));
  const inputs = new Map([
    ['hidden', hidden.flat()],
    ['slots', slots],
    ['scores', scores],
    ['visual', rows(8, 5).flat()],
  ]);
  const got = computed(width, inputs, (t) => {
    const { inject } = pyramidDrop;
    if (inject === undefined) throw new Error('it acts inside');
    expect(inject.after(config, 32)).toEqual([1, 4]);
    const state = {
      hidden: t.input('hidden', 'b s e', { b: 1, s, e: width }),
      slots: t.input('slots', 'b s', { b: 1, s }, 'i32'),
      carried: { visual: t.input('visual', 'b n e', { b: 1, n: 8, e: width }) },
      nextAttention: () => t.input('scores', 'b s', { b: 1, s }),
    };
    const result = inject.apply(t.params, state, config, { layer: index, index });
    expect(result.renumbered).toBe(true);
    return result.hidden;
  });
  close(got, want);
});
