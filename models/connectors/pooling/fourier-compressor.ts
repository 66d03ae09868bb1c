// Fourier Compressor: the grid's discrete cosine transform, cut to its low frequencies and transformed back on a smaller grid; then an MLP.
import { OpabiniaError } from '../../../dsl/index.ts';
import { contractAxis } from '../../../dsl/functions/resample.ts';
import { mlp } from '../../parts/mlp.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface FourierConfig {
  /** Frequencies kept along each axis: side of the grid of tokens. */
  readonly side: number;
}

export const fourierCompressor = connector<FourierConfig>({
  name: 'fourier-compressor',
  title: 'Fourier Compressor',
  paper: 'arXiv 2508.06038',
  year: 2025,
  source: 'whyisverysmart/Fourier-Compressor fourier_compressor/compress.py',
  mathematics: ['X = DCT₂(x), orthonormal', 's = DCT₂⁻¹ of the k × k lowest frequencies', 'y = W₂ gelu(W₁ s)'],
  towers: 'one',
  presets: {
    'llava-1.5-7b-fourier-144': { config: { side: 12 }, maps: [[24, 24, 1024]], width: 4096 },
    'llava-1.5-7b-fourier-36': { config: { side: 6 }, maps: [[24, 24, 1024]], width: 4096 },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, { side }, { width }) =>
    mapTokens(mlp(p.at('mm_projector'), lowFrequencies(onlyMap(maps), side), { linears: [0, 2], width })),
});

/** The map on a grid of `side` × `side`: a fixed linear map along each axis, in f32. */
function lowFrequencies(map: FeatureMap, side: number): FeatureMap {
  const along = (x: FeatureMap, axis: 'h' | 'w'): FeatureMap => {
    const size = x.size(axis);
    if (side > size)
      throw new OpabiniaError(`${side} frequencies of a grid with ${size} along '${axis}'`, {
        op: 'fourier-compressor',
        advice: `keep at most ${size}`,
      });
    return contractAxis('fourier-compressor', x, axis, { rows: side, columns: size, values: cutCosines(size, side) });
  };
  return along(along(map, 'h'), 'w');
}

/** Element (o, i) of D_kᵀ [I_k 0] D_n, with D_n the orthonormal DCT-II of length n. */
function cutCosines(n: number, k: number): Float64Array {
  const cosine = (length: number, frequency: number, at: number) =>
    Math.sqrt((frequency === 0 ? 1 : 2) / length) * Math.cos((Math.PI * (2 * at + 1) * frequency) / (2 * length));
  return Float64Array.from({ length: k * n }, (_, position) => {
    const [o, i] = [Math.floor(position / n), position % n];
    let sum = 0;
    for (let frequency = 0; frequency < k; frequency++) sum += cosine(k, frequency, o) * cosine(n, frequency, i);
    return sum;
  });
}
