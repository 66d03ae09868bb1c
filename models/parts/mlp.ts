// Linear maps with activations between them, on every token of a map: what most projectors are.
import { gelu, linear, relu, silu, slice, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { sized, type FeatureMap } from '../sequence/regions.ts';

export type Activation = 'gelu' | 'gelu-tanh' | 'gelu-quick' | 'silu' | 'relu';

export function activate<S extends string>(x: Tensor<S, Float>, by: Activation): Tensor<S, Float> {
  switch (by) {
    case 'gelu':
      return gelu(x, 'exact');
    case 'gelu-tanh':
      return gelu(x, 'tanh');
    case 'gelu-quick':
      return gelu(x, 'quick');
    case 'silu':
      return silu(x);
    case 'relu':
      return relu(x);
    default:
      return by satisfies never;
  }
}

export interface MlpOptions {
  /** Paths of the linear maps below p, in order. */
  readonly linears: readonly (string | number)[];
  /** Width of the result; with a checkpoint it may be left to that. */
  readonly width?: number | undefined;
  /** Width between the linear maps; that of the result unless told otherwise. */
  readonly hidden?: number | undefined;
  readonly activation?: Activation | undefined;
  readonly bias?: boolean | undefined;
}

/** Linear maps along `c`, an activation between each and the next: `b h w c` to `b h w c`. */
export function mlp(p: Params, map: FeatureMap, options: MlpOptions): FeatureMap {
  const { linears, width, hidden = width, activation = 'gelu', bias = true } = options;
  const last = linears.length - 1;
  return linears.reduce<FeatureMap>((x, path, i) => {
    const y = linear(path === '' ? p : p.at(path), x, 'c', { ...sized(i === last ? width : hidden), bias });
    return i === last ? y : activate(y, activation);
  }, map);
}

/** W_out(act(W_gate x) · W_up x): a gated linear unit, without biases unless told otherwise. */
export function gatedMlp(
  p: Params,
  map: FeatureMap,
  options: {
    readonly gate: string;
    readonly up: string;
    readonly down: string;
    readonly hidden?: number | undefined;
    readonly width?: number | undefined;
    readonly activation?: Activation | undefined;
    readonly bias?: boolean | undefined;
  },
): FeatureMap {
  const { activation = 'silu', bias = false } = options;
  const inner = { ...sized(options.hidden), bias };
  const gate = activate(linear(p.at(options.gate), map, 'c', inner), activation);
  return linear(p.at(options.down), gate.mul(linear(p.at(options.up), map, 'c', inner)), 'c', {
    ...sized(options.width),
    bias,
  });
}

/** One wide map `linear_1`; its first half times silu of its second; `linear_2`. */
export function splitGated(
  p: Params,
  map: FeatureMap,
  hidden: number | undefined,
  width: number | undefined,
): FeatureMap {
  const wide = linear(p.at('linear_1'), map, 'c', sized(hidden));
  const half = wide.size('c') / 2;
  const [value, gate] = [slice(wide, 'c', { size: half }), slice(wide, 'c', { start: half })];
  return linear(p.at('linear_2'), value.mul(silu(gate)), 'c', sized(width));
}
