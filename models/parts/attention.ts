// Attention between two sequences, with the projections that released connectors have.
import {
  attention,
  linear,
  multiHeadAttention,
  rearrange,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { FeatureMap, Queries } from '../sequence/regions.ts';

/** Tokens that queries attend to, in order. */
export type Sequence = Tensor<'b n c', Float>;
/** Vectors of each query by head. */
export type QueryHeads = Tensor<'b q a d', Float>;

export interface HeadOptions {
  readonly heads: number;
  /** Heads of keys and values, each shared by `heads / keyValueHeads` heads of the queries. */
  readonly keyValueHeads?: number | undefined;
  /** bool: true where a query may attend; f32: added to the scaled scores. Axes among `b q n`. */
  readonly mask?: Tensor | undefined;
}

/** softmax(q kᵀ / √d) v by heads, of what is projected already. */
export function headAttention(query: Queries, key: Sequence, value: Sequence, options: HeadOptions): Queries {
  const { heads, keyValueHeads = heads, mask } = options;
  const g = { g: keyValueHeads };
  const [k, v] = [rearrange(key, 'b n (g d) -> b n g d', g), rearrange(value, 'b n (g d) -> b n g d', g)];
  const over = { key: 'n', along: 'd', mask };
  if (heads === keyValueHeads)
    return rearrange(attention(rearrange(query, 'b q (g d) -> b q g d', g), k, v, over), 'b q g d -> b q c=(g d)');
  const q = rearrange(query, 'b q (g r d) -> b q g r d', { ...g, r: heads / keyValueHeads });
  return rearrange(attention(q, k, v, over), 'b q g r d -> b q c=(g r d)');
}

export interface ProjectionNames {
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly out: string;
}

/** As most of transformers names them. */
export const projections = { query: 'q_proj', key: 'k_proj', value: 'v_proj', out: 'o_proj' } as const;

export interface ProjectedOptions extends HeadOptions {
  readonly names: ProjectionNames;
  /** Of all four maps. */
  readonly bias: boolean;
  /** Width of all heads together; that of the queries unless told otherwise. */
  readonly inner?: number | undefined;
  /** Width of the result; that of the queries unless told otherwise. */
  readonly width?: number | undefined;
  /** A norm of queries and keys within each head. */
  readonly norm?: ((of: 'query' | 'key', x: QueryHeads) => QueryHeads) | undefined;
}

/** Attention with four linear maps below p. */
export function projectedAttention(
  p: Params,
  query: Queries,
  key: Sequence,
  value: Sequence,
  options: ProjectedOptions,
): Queries {
  const { names, bias, heads, keyValueHeads = heads, width = query.size('c'), norm } = options;
  const inner = options.inner ?? query.size('c');
  const shared = (inner / heads) * keyValueHeads;
  const q = linear(p.at(names.query), query, 'c', { size: inner, bias });
  const k = linear(p.at(names.key), key, 'c', { size: shared, bias });
  const v = linear(p.at(names.value), value, 'c', { size: shared, bias });
  const read = headAttention(
    norm === undefined ? q : joinHeads(norm('query', byHead(q, heads))),
    norm === undefined ? k : asTokens(joinHeads(norm('key', byHead(asQueries(k), keyValueHeads)))),
    v,
    options,
  );
  return linear(p.at(names.out), read, 'c', { size: width, bias });
}

const byHead = (x: Queries, a: number): QueryHeads => rearrange(x, 'b q (a d) -> b q a d', { a });
const joinHeads = (x: QueryHeads): Queries => rearrange(x, 'b q a d -> b q c=(a d)');

/** PyTorch's nn.MultiheadAttention of queries over tokens. */
export function packedAttention(
  p: Params,
  query: Queries,
  key: Sequence,
  value: Sequence,
  { heads, mask }: HeadOptions,
): Queries {
  return multiHeadAttention(p, query, key, value, { heads, mask, key: 'n', along: 'c' });
}

export const asTokens = (x: Queries): Sequence => rearrange(x, 'b q c -> b n=(q) c');
export const asQueries = (x: Sequence): Queries => rearrange(x, 'b n c -> b q=(n) c');

/** Tokens of a map, row by row. */
export const tokensOf = (map: FeatureMap): Sequence => rearrange(map, 'b h w c -> b n=(h w) c');

/** Tokens as a map of one row: for functions that do not ask where a token lies. */
export const asRow = (tokens: Sequence): FeatureMap => rearrange(tokens, 'b (h n) c -> b h w=(n) c', { h: 1 });
