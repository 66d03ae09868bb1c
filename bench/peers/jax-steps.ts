// The steps of training of bench/cases/training.ts in jax-js's words: losses of parameters by path, AdamW around their gradients.
import type * as Jax from '@jax-js/jax';
import type { PlainStep } from '../case.ts';

type Module = typeof Jax;
type JaxArray = Jax.Array;
/** Arrays by name. What reads one consumes it: each use takes a `ref`. */
type Named = (name: string) => JaxArray;
type Loss = (p: Named, x: Named) => JaxArray;

export function lossOf(jax: Module, plain: PlainStep): Loss {
  switch (plain.op) {
    case 'svaStep':
      return sva(jax, plain);
    case 'decoderStep':
      return decoder(jax, plain);
    case 'gptStep':
      return gpt(jax, plain);
    default:
      return plain satisfies never;
  }
}

/** [n, i] times the transpose of [o, i]. */
const linear = ({ numpy: np }: Module, x: JaxArray, w: JaxArray): JaxArray => np.matmul(x, np.transpose(w));

const norm = ({ nn }: Module, p: Named, path: string, x: JaxArray): JaxArray =>
  nn
    .standardize(x, -1, { epsilon: 1e-5 })
    .mul(p(`${path}.weight`))
    .add(p(`${path}.bias`));

/** Half the mean square of y − target. */
function meanSquare({ numpy: np }: Module, y: JaxArray, target: JaxArray): JaxArray {
  const off = y.sub(target);
  return np.mean(np.square(off)).mul(0.5);
}

/** Rows of queries, each with keys of its own: q [n, h, d], k and v [n, t, h, d]. */
function regionAttention({ numpy: np, nn }: Module, q: JaxArray, k: JaxArray, v: JaxArray, d: number): JaxArray {
  const scores = np.einsum('nhd,nthd->nht', q, k).mul(1 / Math.sqrt(d));
  return np.einsum('nht,nthd->nhd', nn.softmax(scores, -1), v);
}

function sva(jax: Module, { side, sides, width, heads, depth }: Extract<PlainStep, { op: 'svaStep' }>): Loss {
  const { numpy: np, nn } = jax;
  const n = side * side;
  const d = width / heads;
  return (p, x) => {
    const regions = sides.map((h, k) => {
      const r = h / side;
      const map = np.reshape(x(`map_${k}`), [side, r, side, r, width]);
      return np.reshape(np.transpose(map, [0, 2, 1, 3, 4]), [n, r * r, width]);
    });
    const projected = (path: string, y: JaxArray): JaxArray =>
      np.matmul(norm(jax, p, `${path}.0`, y), np.transpose(p(`${path}.1.weight`)));
    let query = np.reshape(x('query'), [n, width]);
    for (let i = 0; i < depth; i++) {
      const at = `layers.${i}`;
      const seen = linear(jax, np.reshape(x('context'), [1, width]), p(`${at}.proj_context.weight`));
      const joined = np.concatenate([query.ref, np.broadcastTo(seen, [n, width])], 1);
      const mixed = linear(jax, joined, p(`${at}.proj_in.weight`));
      const both = (which: 'k' | 'v'): JaxArray =>
        np.reshape(
          np.concatenate(
            regions.map((region, k) => {
              const isWide = (sides[k] ?? side) > side;
              const placed = isWide ? region.ref.add(p(`${at}.pos_embed_${k}`)) : region.ref;
              return projected(`${at}.cross_attn.${which}_proj_${k}`, placed);
            }),
            1,
          ),
          [n, -1, heads, d],
        );
      const q = np.reshape(projected(`${at}.cross_attn.q_proj`, mixed.ref), [n, heads, d]);
      const read = np.reshape(regionAttention(jax, q, both('k'), both('v'), d), [n, width]);
      const attended = mixed.add(linear(jax, read, p(`${at}.cross_attn.o_proj.weight`)));
      const inner = linear(jax, norm(jax, p, `${at}.norm`, attended), p(`${at}.proj_out.linear_1.weight`));
      query = query.add(linear(jax, nn.gelu(inner, { approximate: false }), p(`${at}.proj_out.linear_2.weight`)));
    }
    for (const region of regions) region.dispose();
    return meanSquare(jax, query, np.reshape(x('target'), [n, width]));
  };
}

/** Queries, keys and values [n, h, d] under the causal mask. */
function causal({ nn, numpy: np }: Module, q: JaxArray, k: JaxArray, v: JaxArray, n: number, width: number): JaxArray {
  return np.reshape(nn.dotProductAttention(q, k, v, { isCausal: true }), [n, width]);
}

function decoder(jax: Module, { tokens, width, hidden, heads, eps }: Extract<PlainStep, { op: 'decoderStep' }>): Loss {
  const { numpy: np, nn } = jax;
  const d = width / heads;
  const rms = (x: JaxArray, weight: JaxArray): JaxArray => {
    const scale = np.sqrt(np.mean(np.square(x.ref), -1, { keepdims: true }).add(eps));
    return x.div(scale).mul(weight);
  };
  return (p, x) => {
    const at = 'layers.0';
    const rotate = (y: JaxArray): JaxArray => {
      const [one, two] = np.split(y, 2, -1);
      if (one === undefined || two === undefined) throw new TypeError('two halves');
      const angles = (name: string): JaxArray => np.reshape(x(name), [tokens, 1, d / 2]);
      const left = one.ref.mul(angles('cos')).sub(two.ref.mul(angles('sin')));
      return np.concatenate([left, two.mul(angles('cos')).add(one.mul(angles('sin')))], -1);
    };
    const h = np.reshape(x('x'), [tokens, width]);
    const wide = linear(jax, rms(h.ref, p(`${at}.input_layernorm.weight`)), p(`${at}.self_attn.qkv_proj.weight`));
    const [q, k, v] = np.split(wide, 3, -1).map((part) => np.reshape(part, [tokens, heads, d]));
    if (q === undefined || k === undefined || v === undefined) throw new TypeError('three parts');
    const read = causal(jax, rotate(q), rotate(k), v, tokens, width);
    const attended = h.add(linear(jax, read, p(`${at}.self_attn.o_proj.weight`)));
    const normed = rms(attended.ref, p(`${at}.post_attention_layernorm.weight`));
    const [gate, up] = np.split(linear(jax, normed, p(`${at}.mlp.gate_up_proj.weight`)), [hidden], -1);
    if (gate === undefined || up === undefined) throw new TypeError('two parts');
    const out = attended.add(linear(jax, nn.silu(gate).mul(up), p(`${at}.mlp.down_proj.weight`)));
    return meanSquare(jax, out, np.reshape(x('target'), [tokens, width]));
  };
}

function gpt(jax: Module, { tokens, layers, width, heads, words }: Extract<PlainStep, { op: 'gptStep' }>): Loss {
  const { numpy: np, nn } = jax;
  const d = width / heads;
  return (p, x) => {
    const map = (path: string, y: JaxArray): JaxArray => linear(jax, y, p(`${path}.weight`)).add(p(`${path}.bias`));
    let h = np.take(p('wte.weight'), x('ids'), 0).add(p('wpe.weight'));
    for (let i = 0; i < layers; i++) {
      const at = `h.${i}`;
      const wide = map(`${at}.attn.c_attn`, norm(jax, p, `${at}.ln_1`, h.ref));
      const [q, k, v] = np.split(wide, 3, -1).map((part) => np.reshape(part, [tokens, heads, d]));
      if (q === undefined || k === undefined || v === undefined) throw new TypeError('three parts');
      h = h.add(map(`${at}.attn.c_proj`, causal(jax, q, k, v, tokens, width)));
      const inner = nn.gelu(map(`${at}.mlp.c_fc`, norm(jax, p, `${at}.ln_2`, h.ref)), { approximate: true });
      h = h.add(map(`${at}.mlp.c_proj`, inner));
    }
    const logits = nn.logSoftmax(linear(jax, norm(jax, p, 'ln_f', h), p('wte.weight')), -1);
    return np.sum(logits.mul(nn.oneHot(x('labels'), words))).mul(-1 / tokens);
  };
}

/** What a step makes: Σ g² of each parameter, then parameters and both moments. */
export type Stepped = [squares: JaxArray, values: JaxArray[], first: JaxArray[], second: JaxArray[]];

/** β₁, β₂ and ε of AdamW, and the corrections of its first step: the race repeats it. */
const [beta1, beta2, epsilon] = [0.9, 0.999, 1e-8];

/** One step over parameters in the order of `paths` and inputs in the order of `names`. */
export function stepOf(
  jax: Module,
  plain: PlainStep,
  paths: readonly string[],
  names: readonly string[],
  rate: number,
): (values: JaxArray[], first: JaxArray[], second: JaxArray[], inputs: JaxArray[]) => Stepped {
  const { numpy: np } = jax;
  const loss = lossOf(jax, plain);
  const named = (all: readonly string[], arrays: readonly JaxArray[]): Named => {
    const known = new Map(all.map((name, i) => [name, arrays[i]]));
    return (name) => {
      const array = known.get(name);
      if (array === undefined) throw new TypeError(`there is no '${name}'`);
      return array.ref;
    };
  };
  return (values, first, second, inputs) => {
    const gradients = jax.grad((learned: JaxArray[]) => loss(named(paths, learned), named(names, inputs)))(
      values.map((value) => value.ref),
    ) as JaxArray[];
    const squares = np.stack(gradients.map((g) => np.sum(np.square(g.ref))));
    const m = first.map((old, i) => old.mul(beta1).add(must(gradients[i]).ref.mul(1 - beta1)));
    const v = second.map((old, i) => old.mul(beta2).add(np.square(must(gradients[i])).mul(1 - beta2)));
    const next = values.map((value, i) => {
      const spread = np.sqrt(must(v[i]).ref.mul(1 / (1 - beta2))).add(epsilon);
      return value.sub(
        must(m[i])
          .ref.mul(rate / (1 - beta1))
          .div(spread),
      );
    });
    return [squares, next, m, v];
  };
}

function must(array: JaxArray | undefined): JaxArray {
  if (array === undefined) throw new TypeError('an array is missing');
  return array;
}
