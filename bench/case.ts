// What a case of the race is: a graph with parameters and inputs from a seed, the same in every process that builds it.
import { sizeProduct } from '../dsl/axis/axes.ts';
import { bytesOf, graphCost } from '../compiler/cost.ts';
import { evaluateSize, order, roleOf, type DType, type Graph, type Node, type FloatSource } from '../dsl/index.ts';
import { nameOf } from '../dsl/ops/source.ts';
import type { Source } from '../runtime/checkpoint/joined-source.ts';

/** quick: sizes that run in milliseconds on a software driver, to see that everything works. */
export type Scale = 'full' | 'quick';

export type Values = Float32Array | Float16Array | Int32Array;

export interface Work {
  readonly graph: Graph;
  readonly source: FloatSource;
  /** The source as the graph was traced with it, where its matrices are quantized. */
  readonly packed?: Source;
  /** An ONNX model of the same work, where our export has no words for it; its inputs and outputs are those of the graph. */
  readonly model?: () => Uint8Array;
  readonly inputs: Readonly<Record<string, Values>>;
  /** A smaller graph whose outputs are the leading corner of this one's, where the interpreter would take minutes for the whole. */
  readonly judged?: Judged;
  /** The same in the words of libraries that run no graphs of ours. */
  readonly plain?: Plain;
  /** Of a step of training, the loss alone. */
  readonly forward?: Graph;
  /** A step of training in their words. */
  readonly step?: PlainStep;
  /** Parameters that learn, in the order of `squares`: states of the graph that begin with the source's values. */
  readonly learned?: readonly Learned[];
  /** Names of passes that our own side leaves out, to show what they bring. */
  readonly without?: readonly string[];
}

export interface Learned {
  readonly path: string;
  readonly shape: readonly number[];
}

export interface Judged {
  readonly graph: Graph;
  readonly inputs: Readonly<Record<string, Values>>;
  /** Sizes of axes in which the corner that is right is smaller than the judged output. */
  readonly within?: Readonly<Record<string, number>>;
  /** In single precision by ONNX Runtime's CPU provider, where the interpreter would take an hour. */
  readonly by?: 'ort-cpu';
}

/**
 * A step of training, whose output is Σ g² of each parameter, in the order of `Work.learned`; moments begin as zeros.
 * svaStep: the layers of `visionCrossAttentionLayer`; decoderStep: one of Phi-3; gptStep: GPT-2, weights as linear maps [o, i].
 */
export type PlainStep =
  | {
      readonly op: 'svaStep';
      readonly side: number;
      readonly sides: readonly number[];
      readonly width: number;
      readonly heads: number;
      readonly depth: number;
    }
  | {
      readonly op: 'decoderStep';
      readonly tokens: number;
      readonly width: number;
      readonly hidden: number;
      readonly heads: number;
      readonly eps: number;
    }
  | {
      readonly op: 'gptStep';
      readonly tokens: number;
      readonly layers: number;
      readonly width: number;
      readonly heads: number;
      readonly words: number;
    };

/**
 * An array operation: `x` and the rest are inputs or parameters by name. The one output is row-major as the graph has it.
 * linear: x [rows, i] times `weight` [o, i] transposed. heads: q [h, n, d] times k [h, t, d] transposed.
 * attention: q, k, v [h, n, d]. conv: x [b, h, w, c], `weight` [o, i, kh, kw] as PyTorch has it, `bias` [o].
 */
export type Plain =
  | { readonly op: 'linear'; readonly rows: number; readonly from: number; readonly to: number }
  | {
      readonly op: 'heads';
      readonly heads: number;
      readonly rows: number;
      readonly keys: number;
      readonly size: number;
    }
  | { readonly op: 'attention'; readonly heads: number; readonly rows: number; readonly size: number }
  | { readonly op: 'layerNorm' | 'softmax' | 'geluBiasResidual'; readonly rows: number; readonly columns: number }
  | {
      readonly op: 'conv';
      readonly side: number;
      readonly from: number;
      readonly to: number;
      readonly kernel: number;
      readonly stride: number;
      readonly padding: number;
      readonly depthwise: boolean;
    };

export interface BenchCase {
  /** As in `--only`; a word of it selects too. */
  readonly name: string;
  readonly about: string;
  /** So much work that a software device is spared it, unless it is named. */
  readonly hardware?: true;
  readonly build: (scale: Scale) => Work;
}

/** A whole answer, which only our own runtime gives: no graph for the peers. */
export interface GenerationCase {
  readonly name: string;
  readonly about: string;
  readonly generation: true;
}

export type AnyCase = BenchCase | GenerationCase;

/** Cost of the graph as written: its FLOPs, and the bytes of inputs, parameters, states and outputs, which every implementation moves. */
export function costOfWork({ graph }: Work): { readonly flops: number; readonly bytes: number } {
  const sources = order(graph).filter((node) => ['input', 'param', 'state'].some((role) => role === roleOf(node)));
  const bytes = [...sources, ...graph.outputs.values()].reduce((sum, node) => sum + bytesOf(node.type), 0);
  return { flops: graphCost(graph).flops, bytes };
}

export interface TensorFacts {
  readonly name: string;
  readonly dtype: DType;
  readonly axes: readonly { readonly name: string; readonly size: number }[];
}

/** The inputs of a graph of fixed sizes, in the order of its nodes. */
export function inputFacts(graph: Graph): readonly TensorFacts[] {
  return order(graph)
    .filter((node) => roleOf(node) === 'input')
    .map((node) => facts(nameOf(node), node));
}

export function outputFacts(graph: Graph): readonly TensorFacts[] {
  return [...graph.outputs].map(([name, node]) => facts(name, node));
}

function facts(name: string, node: Node): TensorFacts {
  return {
    name,
    dtype: node.type.dtype,
    axes: node.type.axes.map((axis) => ({ name: axis.name, size: evaluateSize(axis.size, new Map()) })),
  };
}

/** The leading corner of a row-major tensor. */
export function corner(values: ArrayLike<number>, sizes: readonly number[], part: readonly number[]): Float64Array {
  const count = sizeProduct(part);
  const out = new Float64Array(count);
  const index = part.map(() => 0);
  const strides = sizes.map((_, i) => sizeProduct(sizes.slice(i + 1)));
  let from = 0;
  for (let to = 0; to < count; to++) {
    out[to] = values[from] ?? NaN;
    for (let axis = part.length - 1; axis >= 0; axis--) {
      const stride = strides[axis] ?? 0;
      index[axis] = (index[axis] ?? 0) + 1;
      from += stride;
      if ((index[axis] ?? 0) < (part[axis] ?? 0)) break;
      from -= stride * (part[axis] ?? 0);
      index[axis] = 0;
    }
  }
  return out;
}

// ---- numbers ---------------------------------------------------------------------------------------------------------

/** Uniform in (−1, 1) times `scale`, from a seed: fast enough for hundreds of millions. */
export function uniform(count: number, seed: number, scale = 1): Float32Array {
  const values = new Float32Array(count);
  // xorshift32 (Marsaglia 2003); a state of zero would stay there.
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x6d2b79f5) | 1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    values[i] = (state / 2147483648) * scale;
  }
  return values;
}

export function halves(values: Float32Array): Float16Array {
  return Float16Array.from(values);
}

/** Parameters of any path: uniform of deviation 1/√fan-in, norms' weights about 1. Rounded to f16 where the graph stores f16. */
export function benchParams(dtype: 'f32' | 'f16' = 'f32'): FloatSource {
  return {
    dtype,
    shape: () => undefined,
    names: () => undefined,
    read: (path, shape) => {
      const count = sizeProduct(shape);
      const fanIn = sizeProduct(shape.slice(1));
      const values = uniform(count, hash(path), shape.length >= 2 ? Math.sqrt(3 / Math.max(1, fanIn)) : 0.05);
      if (shape.length === 1 && path.endsWith('weight'))
        for (let i = 0; i < count; i++) values[i] = (values[i] ?? 0) + 1;
      if (dtype === 'f16') for (let i = 0; i < count; i++) values[i] = Math.f16round(values[i] ?? 0);
      return values;
    },
  };
}

/** FNV-1a. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h;
}
