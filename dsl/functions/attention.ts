// Attention by names of axes.
import { axisOf, printAxes, subtractSizes, type Axis, type Size } from '../axis/axis.ts';
import type { DType } from '../graph/op.ts';
import type { EachHas, Lacks } from '../axis/argument-types.ts';
import type { Append, First, Has } from '../axis/pattern-types.ts';
import { positions, tanh } from './math.ts';
import { checkOptions } from './options.ts';
import { product } from './shape.ts';
import { elementwise, refusal, requireAxis, requireNumber, sizeValue, widened, type Tensor } from '../tensor.ts';
import { softmax } from './activations.ts';

/** The options of an attention of a query over axes S, keys over K and values over V; without them, any names. */
export interface AttentionOptions<
  S extends string = string,
  K extends string = string,
  V extends string = string,
  Key extends string = string,
  Along extends string = string,
  M extends string = string,
  Causal extends string = string,
> {
  /** The axis of keys and values that is attended over. */
  readonly key: Key & First<First<Has<K, Key>, Has<V, Key>>, Lacks<S, Key>>;
  /** The feature axis of query and key. */
  readonly along: Along & EachHas<S, K, V, Along>;
  /** Default 1/√(size of `along`). */
  readonly scale?: number | undefined;
  /** Scaled scores s become cap · tanh(s / cap) before they are masked (soft-capping: Gemma 2, arXiv 2408.00118 §2). */
  readonly cap?: number | undefined;
  /** bool: true = attend; float: added to the scaled scores. Its axes are among those of the scores. Where nothing may be attended, all keys weigh the same. */
  readonly mask?: (Tensor<M> & Has<Append<S, Key>, M>) | undefined;
  /** Query i attends to key j when j ≤ i + (keys − queries). A name says which axis holds the query positions; true: the last that only the query has. */
  readonly causal?: boolean | (Causal & Has<S, Causal>) | undefined;
}

// Lower than any score, and still finite: a row of nothing but masked keys then has no 0/0.
const masked = -3e38;

/**
 * softmax(scale · query·key) · value, by names: axes that query and key share are batch axes, axes that only the query has are its positions
 * (or, for grouped queries, the group). The result has the query's axes. Scores and softmax are in f32.
 * @example attention(x, rearrange(y, 'b n d -> b t=(n) d'), rearrange(y, 'b n d -> b t=(n) d'), { key: 't', along: 'd' })
 */
export function attention<
  S extends string,
  K extends string,
  V extends string,
  D extends DType,
  Key extends string = string,
  Along extends string = string,
  M extends string = string,
  Causal extends string = string,
>(
  query: Tensor<S, D>,
  key: Tensor<K, D>,
  value: Tensor<V, D>,
  options: AttentionOptions<S, K, V, Key, Along, M, Causal>,
): Tensor<S, D> {
  checkOptions('attention', query, options, ['key', 'along', 'scale', 'cap', 'mask', 'causal']);
  const over: string = options.key;
  const along: string = options.along;
  for (const [x, axis] of [
    [query, along],
    [key, along],
    [key, over],
    [value, over],
    [value, along],
  ] as const)
    requireAxis('attention', x, axis);
  if (axisOf(query.axes, over) !== undefined)
    throw refusal(
      'attention',
      `the query has the key axis '${over}' too`,
      [query, key],
      renamingAdvice(query, key, over),
    );
  for (const x of [key, value]) {
    const stray = x.axes.find((axis) => axis.name !== over && axisOf(query.axes, axis.name) === undefined);
    if (stray !== undefined)
      throw refusal(
        'attention',
        `the axis '${stray.name}' of ${printAxes(x.axes)} is not among the query's`,
        [query, key, value],
        'share it, reduce it, or widen the query with repeat',
      );
  }
  const scale = options.scale ?? 1 / Math.sqrt(requireNumber('attention', query, along));
  const rows = query.axes.map((axis) => axis.name).filter((name) => name !== along);
  const raw = product<string, DType>('attention', query, key, [...rows, over]);
  const { cap } = options;
  if (cap !== undefined && !(cap > 0))
    throw refusal('attention', `scores cannot be capped at ${cap}`, [query, key], 'a number above 0, or none');
  const scaled = raw.cast('f32').mul(scale);
  const capped = cap === undefined ? scaled : tanh(scaled.div(cap)).mul(cap);
  const scores = applyMasks(capped, query, key, { ...options, key: over, along });
  const weights = softmax(scores, over).cast(query.dtype);
  return product(
    'attention',
    weights,
    value as Tensor<string, DType>,
    query.axes.map((axis) => axis.name),
  ) as Tensor<S, D>;
}

/** In self-attention the keys' positions need another name than the queries'. */
function renamingAdvice(query: Tensor, key: Tensor, over: string): string {
  const free = ['t', 'k', 'keys', `${over}_key`].find((name) =>
    [query, key].every((x) => axisOf(x.axes, name) === undefined),
  );
  const pattern = (name: (axis: string) => string): string => key.axes.map((axis) => name(axis.name)).join(' ');
  const renamedKeys = `'${pattern((axis) => axis)} -> ${pattern((axis) => (axis === over ? `${free}=(${over})` : axis))}'`;
  return `give the positions of keys and values another name: rearrange(key, ${renamedKeys}), the same for the values, and { key: '${free}' }`;
}

function applyMasks(
  scores: Tensor<string, 'f32'>,
  query: Tensor,
  key: Tensor,
  options: AttentionOptions,
): Tensor<string, 'f32'> {
  const { mask, causal } = options;
  let result = scores;
  const stray = mask?.axes.find((axis) => axisOf(scores.axes, axis.name) === undefined);
  if (mask !== undefined && stray !== undefined)
    throw refusal(
      'attention',
      `the mask has the axis '${stray.name}', and the scores ${printAxes(scores.axes)} have not`,
      [query, key, mask],
      'name its axes as the query and the key do',
    );
  if (mask !== undefined)
    result =
      mask.dtype === 'bool' ? result.where(mask as Tensor<string, 'bool'>, masked) : result.add(mask.cast('f32'));
  if (causal === undefined || causal === false) return result;
  const keys = requireAxis('attention', key, options.key);
  const own = query.axes.filter((axis) => axis.name !== options.along && axisOf(key.axes, axis.name) === undefined);
  if (causal === options.along)
    throw refusal(
      'attention',
      `the order of queries goes along '${causal}', the axis of their features`,
      [query, key],
      "name the axis of query positions: { causal: 'q' }",
    );
  const queries = typeof causal === 'string' ? requireAxis('attention', query, causal) : own.at(-1);
  if (queries === undefined)
    throw refusal(
      'attention',
      'no axis belongs to the query alone, so there is no order of queries',
      [query, key],
      "name the axis of query positions: { causal: 'q' }",
    );
  return result.where(causalMask(scores, queries, keys), masked);
}

/** True where key j ≤ query i + (keys − queries). */
function causalMask(like: Tensor, queries: Axis, keys: Axis): Tensor<string, 'bool'> {
  const late: Size = subtractSizes(keys.size, queries.size);
  const rows: Tensor<string, 'i32'> = positions(like, queries, queries.name);
  const last: Tensor<string, 'i32'> = late === 0 ? rows : elementwise('add', rows, sizeValue('attention', rows, late));
  return elementwise(
    'ge',
    widened<string, 'i32'>('attention', last, [queries, keys]),
    positions(like, keys, keys.name),
  );
}
