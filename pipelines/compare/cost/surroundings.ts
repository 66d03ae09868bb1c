// What stands around a connector in a comparison: inputs for whatever it asks for, made when it asks.
import {
  einsum,
  randomParams,
  trace,
  type Axis,
  type DType,
  type Float,
  type Graph,
  type Params,
  type Size,
  type Tensor,
  type Trace,
} from '../../../dsl/index.ts';
import type {
  AnyConnector,
  ConnectorContext,
  Injection,
  InjectionState,
  MapShape,
  TowerReadings,
} from '../../../models/connectors/connector.ts';
import type { PictureSize } from '../../../models/sequence/masks.ts';
import type { ReadingModel } from '../language-models.ts';

/** Facts of a tower that its map does not show. */
export interface TowerFacts {
  readonly heads: number;
  readonly classTokens: number;
}

export interface Surroundings {
  readonly maps: readonly MapShape[];
  readonly towers: readonly TowerFacts[];
  readonly model: ReadingModel;
  readonly dtype: Float;
  readonly picture?: PictureSize | undefined;
  /** Tokens of text beside the picture: those of the question. */
  readonly question: number;
  /** Pictures; 1 unless told otherwise. */
  readonly batch?: number | undefined;
}

/** An input for each thing that is asked for, the same one when it is asked for again. */
class Asked {
  readonly #trace: Trace;
  readonly #behind: string;
  readonly #made = new Map<string, Tensor>();

  /** `behind`: what its names end with. */
  constructor(trace: Trace, behind = '') {
    this.#trace = trace;
    this.#behind = behind;
  }

  input<S extends string, D extends 'f16' | 'f32' | 'i32' | 'bool'>(
    asked: string,
    axes: S,
    sizes: Readonly<Record<string, Size>>,
    dtype: D,
  ): Tensor<S, D> {
    const name = `${asked}${this.#behind}`;
    const known = this.#made.get(name) ?? this.#trace.input<string, D>(name, axes, sizes, dtype);
    this.#made.set(name, known);
    return known as Tensor as Tensor<S, D>;
  }
}

export function madeContext(t: Trace, around: Surroundings): ConnectorContext {
  const { model, dtype, question: length, batch: b = 1 } = around;
  const asked = new Asked(t);
  return {
    width: model.width,
    pictures: around.picture === undefined ? undefined : [around.picture],
    question: () => asked.input('question', 'b t e', { b, t: length, e: model.width }, dtype),
    questionIds: () => asked.input('question_ids', 'b t', { b, t: length }, 'i32'),
    questionMask: () => asked.input('question_mask', 'b t', { b, t: length }, 'bool'),
    tower: (k) => readings(asked, k, around),
  };
}

function readings(asked: Asked, k: number, { maps, towers, dtype, batch: b = 1 }: Surroundings): TowerReadings {
  const [h, w, c] = maps[k] ?? [1, 1, 1];
  const { heads: a, classTokens } = towers[k] ?? { heads: 1, classTokens: 0 };
  const n = h * w;
  return {
    hidden: (layer) => asked.input(`map_${k}_layer_${layer}`, 'b h w c', { b, h, w, c }, dtype),
    classTokens: (layer) =>
      asked.input(`class_${k}_layer_${layer}`, 'b p c', { b, p: Math.max(1, classTokens), c }, dtype),
    classAttention: (layer) => asked.input(`attention_${k}_layer_${layer}`, 'b a n', { b, a, n }, dtype),
    keys: (layer) => asked.input(`keys_${k}_layer_${layer}`, 'b n a d', { b, n, a, d: Math.floor(c / a) }, dtype),
    queriesAndKeys: (layer) => {
      const sizes = { b, n: classTokens + n, c };
      return {
        query: asked.input(`queries_${k}_layer_${layer}`, 'b n c', sizes, dtype),
        key: asked.input(`all_keys_${k}_layer_${layer}`, 'b n c', sizes, dtype),
      };
    },
    // The rest of the tower is not the connector's cost, and each place stays its own in it: what is put in comes out.
    resume: (_layer, map) => map,
  };
}

/** What stands at one layer of the language model. */
export interface InsideLayer {
  readonly layer: number;
  /** Its output is `hidden`. */
  readonly graph: Graph;
  /** The sum of that, each element weighed by an input: what is trained. */
  readonly loss: Graph;
}

export interface Inside {
  readonly layers: readonly InsideLayer[];
  /** Visual positions in each layer of the language model. */
  readonly positions: readonly number[];
}

/** A value that goes from the picture's graph to those of the layers. */
export interface Carried {
  readonly axes: readonly Axis[];
  readonly dtype: DType;
}

/** Of the language model. */
const headSize = 128;

/** What the connector does inside the language model, each layer a graph of its own: what the picture's graph carries is an input there. */
export function injectionsOf(
  connector: AnyConnector,
  config: unknown,
  carried: ReadonlyMap<string, Carried>,
  tokens: number,
  { model, dtype, question }: Surroundings,
): Inside {
  let visual = tokens;
  const all = (count: number) => Array.from({ length: count }, () => visual);
  const { inject } = connector;
  if (inject === undefined) return { layers: [], positions: all(model.layers) };
  const positions: number[] = [];
  const layers = inject.after(config, model.layers).map((layer, index): InsideLayer => {
    positions.push(...all(Math.max(0, layer + 1 - positions.length)));
    const [b, s] = [1, visual + question];
    const both = trace(
      randomParams(0, { dtype }),
      (t) => {
        const asked = new Asked(t);
        const given = [...carried].map(([name, { axes, dtype: own }]): [string, Tensor] => [
          name,
          t.input<string, DType>(`carried_${name}`, axes.map((axis) => axis.name).join(' '), sizesOf(axes), own),
        ]);
        const stream = asked.input('hidden', 'b s e', { b, s, e: model.width }, dtype);
        const state = stateOf(asked, stream, Object.fromEntries(given), dtype);
        const { hidden } = inject.apply(t.params, state, config, { layer, index });
        visual = Math.max(0, hidden.size('s') - question);
        return { hidden, loss: weighed(t, [hidden], dtype) };
      },
      { unread: 'ignore' },
    );
    return { layer, ...apart(both) };
  });
  positions.push(...all(model.layers - positions.length));
  return { layers, positions };
}

/** What an injection sees of these hidden states, the rest made when it asks. */
function stateOf(
  asked: Asked,
  hidden: Tensor<'b s e', Float>,
  carried: Readonly<Record<string, Tensor>>,
  dtype: Float,
): InjectionState {
  const sizes = { b: 1, s: hidden.size('s') };
  return {
    hidden,
    carried,
    slots: asked.input('slots', 'b s', sizes, 'i32'),
    pictures: () => asked.input('pictures', 'b s', sizes, 'i32'),
    lastAttention: () => asked.input('attention', 'b s', sizes, dtype),
    angles: () => ({
      cos: asked.input('cos', 'b s f', { ...sizes, f: headSize / 2 }, 'f32'),
      sin: asked.input('sin', 'b s half f', { ...sizes, half: 2, f: headSize / 2 }, 'f32'),
    }),
    nextAttention: () => asked.input('next_attention', 'b s', sizes, dtype),
  };
}

/** All that the connector does inside the language model, one behind the other: the last hidden states. */
export function layersInside(
  t: Trace,
  p: Params,
  inject: Injection<unknown>,
  config: unknown,
  start: Tensor<'b s e', Float>,
  carried: Readonly<Record<string, Tensor>>,
  { model, dtype }: Surroundings,
): Tensor<'b s e', Float> {
  const byLength = new Map<number, Asked>();
  return inject.after(config, model.layers).reduce((hidden, layer, index) => {
    const length = hidden.size('s');
    const asked = byLength.get(length) ?? new Asked(t, `_of_${length}`);
    byLength.set(length, asked);
    return inject.apply(p, stateOf(asked, hidden, carried, dtype), config, { layer, index }).hidden;
  }, start);
}

/** A graph without its output `loss`, and that output alone: traced once, and counted twice. */
export function apart({ outputs, updates }: Graph): { readonly graph: Graph; readonly loss: Graph } {
  const only = (isLoss: boolean): Graph => ({
    outputs: new Map([...outputs].filter(([name]) => (name === 'loss') === isLoss)),
    updates,
  });
  return { graph: only(false), loss: only(true) };
}

/** The sum of tensors, each element weighed by an input: what is trained, whatever the loss is. */
export function weighed(t: Trace, tensors: readonly Tensor[], dtype: Float): Tensor<'', Float> {
  const parts = tensors.map((tensor, i) => {
    const axes = tensor.axes.map((axis) => axis.name).join(' ');
    const weight = t.input<string, Float>(`weight_${i}`, axes, sizesOf(tensor.axes), dtype);
    return einsum<string, string, string, Float, Float>(
      tensor as Tensor<string, Float>,
      weight,
      `${axes}, ${axes} -> `,
    ) as Tensor<'', Float>;
  });
  const [first, ...rest] = parts;
  if (first === undefined) throw new TypeError('nothing is weighed');
  return rest.reduce((total, part) => total.add(part), first);
}

function sizesOf(axes: readonly Axis[]): Readonly<Record<string, Size>> {
  return Object.fromEntries(axes.map(({ name, size }) => [name, size]));
}
