// Dense Connector: earlier layers of the tower beside its last: as more tokens (STI), as channels (SCI), or averaged as channels (DCI).
import { concat, OpabiniaError, rearrange, reduce, type Float, type Tensor } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap, required, type TowerReadings } from '../connector.ts';
import { joinTokens, mapTokens, queryTokens, toLanguage } from '../visual-tokens.ts';

export interface DenseConnectorConfig {
  readonly form: 'sti' | 'sci' | 'dci';
  /** Ranges of hidden states, first and last, 0 being what enters the first block: one layer each for STI and SCI. */
  readonly layers: readonly (readonly [number, number])[];
  /** STI: neighbours in the order of rows that become one token. */
  readonly pool: number;
}

const early = [
  [7, 7],
  [15, 15],
] as const;
const halves = [
  [0, 11],
  [12, 23],
] as const;

export const denseConnector = connector<DenseConnectorConfig>({
  name: 'dense-connector',
  title: 'Dense Connector (STI, SCI, DCI)',
  paper: 'arXiv 2405.13800',
  year: 2024,
  source: 'HJYao00/DenseConnector dc/model/multimodal_projector/dense_connector.py',
  mathematics: [
    'DCI: x = [h_L ; mean(h_0…h_11) ; mean(h_12…h_23)] along channels; SCI: [h_L ; h_7 ; h_15]',
    'STI: x = [h_L ; pool₈ h_7 ; pool₈ h_15] along tokens',
    'y = W₂ gelu(W₁ x)',
  ],
  towers: 'one',
  presets: {
    'dense-connector-7b-dci': { config: { form: 'dci', layers: halves, pool: 8 }, maps: [[24, 24, 1024]], width: 4096 },
    'dense-connector-7b-sci': { config: { form: 'sci', layers: early, pool: 8 }, maps: [[24, 24, 1024]], width: 4096 },
    'dense-connector-7b-sti': { config: { form: 'sti', layers: early, pool: 8 }, maps: [[24, 24, 1024]], width: 4096 },
  },
  build: (p, maps, { form, layers, pool }, context) => {
    const map = onlyMap(maps);
    const tower = required(context, 'tower', 'dense-connector')(0);
    const others = layers.map(([first, last]) => meanState(tower, first, last));
    const project = (x: FeatureMap): FeatureMap =>
      mlp(p.at('mm_projector'), x, { linears: [0, 2], width: context.width });
    if (form !== 'sti') {
      const fused = concat([map, ...others], 'c');
      context.inspect?.('fused', fused);
      return mapTokens(project(fused));
    }
    const pooled = others.map((state) => rowPool(state, pool));
    context.inspect?.('fused', concat([flat(map), ...pooled.map(flat)], 'n'));
    return joinTokens([
      mapTokens(project(map)),
      ...pooled.map((state) => queryTokens(rearrange(toLanguage(project(state)), 'b h w e -> b n=(h w) e'))),
    ]);
  },
});

function flat(map: FeatureMap): Tensor<'b n c', Float> {
  return rearrange(map, 'b h w c -> b n=(h w) c');
}

function meanState(tower: TowerReadings, first: number, last: number): FeatureMap {
  const states = Array.from({ length: last - first + 1 }, (_, i) => tower.hidden(first + i));
  const [start, ...rest] = states;
  if (start === undefined)
    throw new OpabiniaError(`there are no layers from ${first} to ${last}`, { op: 'dense-connector' });
  return rest.length === 0 ? start : rest.reduce((sum, state) => sum.add(state), start).mul(1 / states.length);
}

/** Means of `size` consecutive tokens in the order of rows; what is left over is dropped. A map of one row. */
function rowPool(map: FeatureMap, size: number): FeatureMap {
  const tokens = flat(map);
  if (tokens.size('n') % size !== 0)
    throw new OpabiniaError(`${tokens.size('n')} tokens do not divide by ${size}`, {
      op: 'dense-connector',
      advice: `pool by a divisor of ${tokens.size('n')}`,
    });
  const pooled = reduce(rearrange(tokens, 'b (w k) c -> b w k c', { k: size }), 'b w k c -> b w c', 'mean');
  return rearrange(pooled, 'b (h w) c -> b h w c', { h: 1 });
}
