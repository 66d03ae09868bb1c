// Honeybee's D-Abstractor: queries on a grid, placed by the pooled map, read the map by deformable attention, in DETR's decoder layers.
import {
  adaptiveAvgPool2d,
  layerNorm,
  linear,
  OpabiniaError,
  rearrange,
  repeat,
  slice,
  type Params,
} from '../../../dsl/index.ts';
import { asQueries, asTokens, projectedAttention, tokensOf } from '../../parts/attention.ts';
import { deformableAttention, type DeformableOptions } from '../../parts/deformable-attention.ts';
import { activate } from '../../parts/mlp.ts';
import { squaresNear } from '../../parts/token-budgets.ts';
import { learnedTokens } from '../../parts/visual-abstractor.ts';
import { sized, type FeatureMap, type Queries } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, tokensOfQueries, type VisualTokens } from '../visual-tokens.ts';

export interface DAbstractorConfig extends DeformableOptions {
  readonly queries: number;
  /** Width of the queries. */
  readonly size: number;
  readonly layers: number;
  /** Width inside the MLPs. */
  readonly intermediate: number;
  /** What the pooled map is: the queries' positions, their content, or neither: then both are learned. Of several maps neither is pooled. */
  readonly pooled: 'query' | 'tgt' | 'none';
  /** Learned tokens behind the results. */
  readonly ends: number;
  /** A learned position for each cell of the map. */
  readonly placed: boolean;
}

const names = { query: 'q_proj', key: 'k_proj', value: 'v_proj', out: 'out_proj' } as const;
const released = {
  size: 1024,
  layers: 6,
  heads: 8,
  points: 4,
  intermediate: 1024,
  pooled: 'query',
  ends: 0,
  placed: true,
} as const;

export const honeybeeDAbstractor = connector<DAbstractorConfig>({
  name: 'honeybee-d-abstractor',
  title: 'Honeybee D-Abstractor',
  paper: 'arXiv 2312.06742',
  year: 2023,
  source: 'khanrc/honeybee honeybee/projectors/dabs.py DAbstractor',
  mathematics: [
    'P = pool(x), q = Q;  q ← LN(q + MHA(q + P; q + P, q))',
    'q ← LN(q + Σ_k A_k x(r + Δ_k)), A and Δ from q + P, r learned;  q ← LN(q + MLP q)',
    'y = W [q ; eos]',
  ],
  // Layers of one tower, each a level; the released ones read one.
  towers: 'views',
  presets: {
    'honeybee-d-7b-m144': { config: { ...released, queries: 144 }, maps: [[16, 16, 1024]], width: 4096 },
    'honeybee-d-13b-m256': { config: { ...released, queries: 256 }, maps: [[24, 24, 1024]], width: 5120 },
  },
  variants: (config, tokens) => squaresNear(tokens - config.ends).map((queries) => ({ ...config, queries })),
  build: (p, maps, config, { width }) => {
    const levels = maps.map((map, level) => mapOf(p, map, config, { level, levels: maps.length }));
    const map = onlyMap(levels);
    if (levels.length > 1 && config.pooled !== 'none')
      throw new OpabiniaError(`maps of ${levels.length} levels have no pooled queries`, {
        op: 'honeybee-d-abstractor',
        advice: "pooled: 'none'",
      });
    const references = p.get('reference_points', 'n q i', { n: 1, q: config.queries, i: 2 }).at('n', 0);
    const { positions, content: start } = starts(p, map, config);
    let content = start;
    for (let i = 0; i < config.layers; i++) {
      const layer = p.at('layers', i);
      const placed = asTokens(content.add(positions));
      const own = projectedAttention(layer.at('self_attn'), asQueries(placed), placed, asTokens(content), {
        names,
        bias: true,
        heads: config.heads,
      });
      content = layerNorm(layer.at('self_attn_layer_norm'), content.add(own));
      const read = deformableAttention(layer.at('encoder_attn'), content.add(positions), levels, references, config);
      content = layerNorm(layer.at('encoder_attn_layer_norm'), content.add(read));
      const inner = activate(linear(layer.at('fc1'), content, 'c', { size: config.intermediate }), 'relu');
      const fed = linear(layer.at('fc2'), inner, 'c', { size: config.size });
      content = layerNorm(layer.at('final_layer_norm'), content.add(fed));
    }
    const projected = (x: Queries): VisualTokens =>
      tokensOfQueries(
        (width ?? config.size) === config.size && !p.at('output_proj').has('weight')
          ? x
          : linear(p.at('output_proj'), x, 'c', sized(width)),
      );
    if (config.ends === 0) return projected(content);
    const ends = projected(learnedTokens(p, 'eos_tokens', map, { q: config.ends, c: config.size }));
    return joinTokens([projected(content), { ...ends, layout: [{ role: 'end', count: config.ends }] }]);
  },
});

/** A map at the queries' width, with its positions, and where there are several with a vector of its level. */
function mapOf(
  p: Params,
  map: FeatureMap,
  { size, placed }: DAbstractorConfig,
  { level, levels }: { readonly level: number; readonly levels: number },
): FeatureMap {
  const x = map.size('c') === size ? map : linear(p.at('input_proj', level), map, 'c', { size });
  const n = map.size('h') * map.size('w');
  const table = () => p.get('v_pos_emb', 'i n c', { i: 1, n, c: size }).at('i', 0);
  const at = placed ? x.add(rearrange(table(), '(h w) c -> h w c', { h: map.size('h') })) : x;
  if (levels === 1) return at;
  const marks = p.get('level_emb', 'i l j c', { i: 1, l: levels, j: 1, c: size });
  return at.add(marks.at('i', 0).at('j', 0).at('l', level));
}

/** Positions and content of the queries before the first layer. */
function starts(
  p: Params,
  map: FeatureMap,
  { queries, size, pooled }: DAbstractorConfig,
): { positions: Queries; content: Queries } {
  const width = pooled === 'none' ? 2 * size : size;
  const table = p.at('query_position_embeddings').get('weight', 'q c', { q: queries, c: width });
  const learned = repeat(table, 'q c -> b q c', { b: map.sizeOf('b') });
  if (pooled === 'none')
    return { positions: slice(learned, 'c', { size }), content: slice(learned, 'c', { start: size }) };
  const side = Math.floor(Math.sqrt(queries));
  const means = asQueries(tokensOf(adaptiveAvgPool2d(map, { height: side, width: side })));
  return pooled === 'query' ? { positions: means, content: learned } : { positions: learned, content: means };
}
