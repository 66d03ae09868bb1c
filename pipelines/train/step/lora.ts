// LoRA (Hu et al. 2021, arXiv 2106.09685): a linear map that is frozen, and beside it one of low rank that learns.
import { OpabiniaError, type Float, type Params, type ParamSource, type Tensor } from '../../../dsl/index.ts';
import { product } from '../../../dsl/functions/shape.ts';
import { renamed } from '../../../dsl/tensor.ts';
import { matchesAny } from './groups.ts';

export interface LoraGroup {
  /** Globs over the paths of weights: `*q_proj.weight`. Of groups that mean one weight the last counts. */
  readonly paths: readonly string[];
  readonly rank: number;
  /** The product is multiplied by alpha / rank; default alpha = rank. */
  readonly alpha?: number | undefined;
}

/** PEFT's names, beside the weight's. */
export function loraPaths(weight: string): { readonly a: string; readonly b: string } {
  const root = weight.replace(/\.?weight$/, '');
  return { a: `${root}.lora_A.weight`, b: `${root}.lora_B.weight` };
}

export interface Lora {
  readonly source: ParamSource;
  readonly wrap: (p: Params) => Params;
  /** Paths that learn. */
  readonly paths: readonly string[];
}

/**
 * The source with A (uniform within ±1/√fan-in, by seed and path) and B (zeros) of every weight that is meant, and parameters in which
 * W is W + alpha/rank · BA. Throws `OpabiniaError` for a glob that means no weight of two axes.
 */
export function withLora(
  source: ParamSource,
  groups: readonly LoraGroup[],
  names: readonly string[],
  seed: number,
): Lora {
  const known = new Map<
    string,
    { readonly a: string; readonly b: string; readonly group: LoraGroup; readonly shape: readonly number[] }
  >();
  for (const group of groups) {
    const members = names.filter(
      (name) => name.endsWith('weight') && matchesAny(name, group.paths) && source.shape(name)?.length === 2,
    );
    if (members.length === 0)
      throw new OpabiniaError(`LoRA's glob '${group.paths.join(' ')}' means no matrix of the model`, {
        op: 'lora',
        advice: "weights are named like '*self_attn.q_proj.weight'",
      });
    for (const name of members) known.set(name, { ...loraPaths(name), group, shape: source.shape(name) ?? [] });
  }
  const added = new Map<string, { readonly shape: readonly number[]; readonly values: () => Float32Array }>();
  for (const { a, b, group, shape } of known.values()) {
    const [out = 1, fan = 1] = shape;
    added.set(a, { shape: [group.rank, fan], values: () => uniform(a, seed, group.rank * fan, 1 / Math.sqrt(fan)) });
    added.set(b, { shape: [out, group.rank], values: () => new Float32Array(out * group.rank) });
  }
  const wrap = (inner: Params): Params => ({
    path: inner.path,
    at: (...path) => wrap(inner.at(...path)),
    has: (name) => inner.has(name),
    get: <S extends string>(name: string, axes: S, sizes?: Readonly<Record<string, number>>): Tensor<S, Float> => {
      const weight = inner.get<string>(name, axes, sizes);
      const own = known.get(inner.path === '' ? name : `${inner.path}.${name}`);
      if (own === undefined) return weight as Tensor<S, Float>;
      return adapted(inner, name, weight, own.group) as Tensor<S, Float>;
    },
  });
  return {
    wrap,
    paths: [...added.keys()],
    source: {
      ...source,
      names: () => [...(source.names() ?? []), ...added.keys()],
      shape: (path) => added.get(path)?.shape ?? source.shape(path),
      read: (path, shape) => added.get(path)?.values() ?? source.read(path, shape),
      storedAs: (path) => (added.has(path) ? undefined : source.storedAs?.(path)),
    },
  };
}

function adapted(
  p: Params,
  name: string,
  weight: Tensor<string, Float>,
  { rank, alpha = rank }: LoraGroup,
): Tensor<string, Float> {
  const [out, fan] = weight.axes;
  if (out === undefined || fan === undefined) return weight;
  const { a, b } = loraPaths(name);
  const narrow = p.get(a.replace(/^\./, ''), 'lora_r lora_i', { lora_r: rank });
  const wide = p.get(b.replace(/^\./, ''), 'lora_o lora_r', { lora_r: rank });
  const delta = product<string, Float>(
    'lora',
    renamed<string, Float>('lora', wide, new Map([['lora_o', out.name]])),
    renamed<string, Float>('lora', narrow, new Map([['lora_i', fan.name]])),
    [out.name, fan.name],
  );
  return weight.add(alpha === rank ? delta : delta.mul(alpha / rank));
}

/** FNV-1a over the path, mulberry32 from there: the same on every machine. */
function uniform(path: string, seed: number, count: number, bound: number): Float32Array {
  let state = 0x811c9dc5 ^ Math.imul(seed | 0, 0x9e3779b1);
  for (let i = 0; i < path.length; i++) state = Math.imul(state ^ path.charCodeAt(i), 0x01000193);
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return bound * (2 * (((t ^ (t >>> 14)) >>> 0) / 4294967296) - 1);
  });
}
