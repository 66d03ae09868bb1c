// The connectors that SVA is compared with in Cambrian-1's own code: per-token projectors and a reduced C-Abstractor.
import {
  concat,
  conv2d,
  gelu,
  linear,
  OpabiniaError,
  rearrange,
  reduce,
  resize,
  sigmoid,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import { asSquareMap, sized, type FeatureMap } from '../sequence/regions.ts';

type Tokens = Tensor<'b n c', Float>;

export interface ProjectorConfig {
  /** Width of the LLM; with a checkpoint it is read from there. */
  readonly width?: number | undefined;
}

/** Tokens of all towers on one grid, channels side by side: what these connectors take instead of SVA's separate maps. */
export function concatTowers(maps: readonly FeatureMap[], side: number): Tokens {
  const onGrid = maps.map((map) => {
    if (map.size('h') === side && map.size('w') === side) return map;
    return resize(map.cast('f32'), { height: side, width: side, mode: 'bilinear' }).cast(map.dtype);
  });
  return rearrange(concat(onGrid, 'c'), 'b h w c -> b n=(h w) c');
}

/** The connector called `type` in Cambrian's `mm_projector_type`. Throws `OpabiniaError` for a name it does not have. */
export function baselineConnector(type: string, p: Params, x: Tokens, config: ProjectorConfig = {}): Tokens {
  const layers = /^mlp([1-9]\d*)x_gelu$/.exec(type)?.[1];
  if (layers !== undefined) return mlp(p, x, Number(layers), config);
  switch (type) {
    case 'linear':
      return linear(p, x, 'c', sized(config.width));
    case 'identity':
      return x;
    case 'se_mlp':
      return seMlp(p, x, config);
    case 'CAbstractor':
      return cAbstractor(p, x, config);
    default:
      throw new OpabiniaError(`there is no connector '${type}'`, {
        op: 'baselineConnector',
        advice: 'linear, mlpNx_gelu, identity, se_mlp or CAbstractor',
      });
  }
}

/** Linear, then `layers - 1` times GELU and Linear. */
export function mlp(p: Params, x: Tokens, layers: number, config: ProjectorConfig = {}): Tokens {
  let out = linear(p.at(0), x, 'c', sized(config.width));
  for (let i = 1; i < layers; i++) out = linear(p.at(2 * i), gelu(out, 'exact'), 'c', { size: out.size('c') });
  return out;
}

/** Squeeze and excitation over channels, with a residual, then a two-layer MLP. */
export function seMlp(p: Params, x: Tokens, config: ProjectorConfig = {}): Tokens {
  const squeezed = reduce(x, 'b n c -> b c', 'mean');
  const width = { size: x.size('c'), bias: false };
  const gate = sigmoid(linear(p.at('se', 2), gelu(linear(p.at('se', 0), squeezed, 'c', width), 'exact'), 'c', width));
  return mlp(p.at('proj'), x.mul(gate).add(x), 2, config);
}

/** The repository's reduced C-Abstractor: a strided 3 × 3 convolution, then a two-layer MLP on a quarter of the tokens. */
export function cAbstractor(p: Params, x: Tokens, config: ProjectorConfig = {}): Tokens {
  const down = conv2d(p.at('downsamples'), asSquareMap(x), {
    out: 'c',
    size: 1024,
    kernel: 3,
    stride: 2,
    padding: 1,
    bias: false,
  });
  return mlp(p.at('readout'), rearrange(down, 'b h w c -> b n=(h w) c'), 2, config);
}
