// VideoLLaMA2's STC: RegNet blocks on every frame, a convolution or an average over time and space, RegNet blocks, an MLP.
import {
  einsum,
  pad,
  rearrange,
  reduce,
  silu,
  slice,
  stack,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { regStage } from '../../parts/convolutions.ts';
import { mlp } from '../../parts/mlp.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector } from '../connector.ts';
import { joinTokens, mapTokens } from '../visual-tokens.ts';

export interface StcConfig {
  /** RegNet blocks before the sampler, and again after it. */
  readonly depth: number;
  /** Linear maps of the MLP. */
  readonly layers: number;
  /** Width of the blocks; that of the language model in the released ones. */
  readonly hidden: number;
  /** Frames, rows and columns that become one. */
  readonly steps: readonly [frames: number, rows: number, columns: number];
  /** conv: a convolution over one cell of padding. conv-3.5: one without padding. pool: an average. */
  readonly sampler: 'conv' | 'conv-3.5' | 'pool';
}

const released = { depth: 4, layers: 2, hidden: 4096, steps: [2, 2, 2] } as const;
const frames = (count: number) => Array.from({ length: count }, () => [24, 24, 1024] as const);

/** The maps are the frames of one video, in order. */
export const videollama2 = connector<StcConfig>({
  name: 'videollama2',
  title: 'VideoLLaMA2 STC, STC-v3.5 and STP',
  paper: 'arXiv 2406.07476',
  year: 2024,
  source: 'DAMO-NLP-SG/VideoLLaMA2 videollama2/model/projector.py STCConnector',
  mathematics: [
    'u_t = RegStage(x_t)',
    's = silu(conv_{2×2×2, stride 2}(u)), or silu of the average',
    'y = W₂ gelu(W₁ RegStage(s))',
  ],
  towers: 'views',
  presets: {
    'videollama2-7b-8-frames': { config: { ...released, sampler: 'conv' }, maps: frames(8), width: 4096 },
    'videollama2.1-7b-8-frames': {
      config: { ...released, hidden: 3584, sampler: 'conv-3.5' },
      maps: Array.from({ length: 8 }, () => [27, 27, 1152] as const),
      width: 3584,
    },
  },
  build: (p, maps, config, { width }) => {
    const { depth, hidden: size, layers } = config;
    const first = maps.map((map) => regStage(p.at('s1'), map, { depth, size }));
    const linears = Array.from({ length: layers }, (_, i) => 2 * i);
    return joinTokens(
      sampled(p, first, config).map((map, view) => {
        const second = regStage(p.at('s2'), map, { depth, size });
        return mapTokens(mlp(p.at('readout'), second, { linears, width }), view);
      }),
    );
  },
});

/** Blocks of frames, rows and columns as one cell each; what is left over at the end is dropped. */
function sampled(p: Params, maps: readonly FeatureMap[], { steps, sampler, hidden }: StcConfig): readonly FeatureMap[] {
  const [k, i, j] = steps;
  const margin = sampler === 'conv' ? 1 : 0;
  const video = (['t', 'h', 'w'] as const).reduce<Tensor<'b h w c t', Float>>(
    (x, axis, at) => {
      const padded = margin === 0 ? x : pad(x, axis, { before: margin, after: margin });
      const step = steps[at] ?? 1;
      return slice(padded, axis, { size: Math.floor(padded.size(axis) / step) * step });
    },
    stack(maps, 't'),
  );
  const blocks = rearrange(video, 'b (y i) (x j) c (u k) -> b y i x j c u k', { i, j, k });
  const out = Array.from({ length: blocks.size('u') }, (_, u) => blocks.at('u', u));
  if (sampler === 'pool')
    return out.map((block) =>
      silu(rearrange(reduce(block, 'b y i x j c k -> b y x c', 'mean'), 'b y x c -> b h=(y) w=(x) c')),
    );
  const own = p.at('sampler', 0);
  const weight = own.get('weight', 'o c k i j', { o: hidden, c: hidden, k, i, j });
  const bias = own.get('bias', 'o', { o: hidden });
  return out.map((block) => {
    const summed = einsum(block, weight, 'b y i x j c k, o c k i j -> b y x o').add(bias);
    return silu(rearrange(summed, 'b y x o -> b h=(y) w=(x) c=(o)'));
  });
}
