// What stands around a connector in a comparison: inputs for whatever it asks for, made when it asks.
import type { Float, Size, Tensor, Trace } from '../../dsl/index.ts';
import type {
  AnyConnector,
  ConnectorContext,
  InjectionState,
  MapShape,
  TowerReadings,
} from '../../models/connectors/connector.ts';
import { anglesAt } from '../../models/decoders/rope.ts';
import type { VisualTokens } from '../../models/connectors/visual-tokens.ts';
import type { PictureSize } from '../../models/sequence/masks.ts';
import type { ReadingModel } from './language-models.ts';

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
  readonly #made = new Map<string, Tensor>();

  constructor(trace: Trace) {
    this.#trace = trace;
  }

  input<S extends string, D extends 'f16' | 'f32' | 'i32' | 'bool'>(
    name: string,
    axes: S,
    sizes: Readonly<Record<string, Size>>,
    dtype: D,
  ): Tensor<S, D> {
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
    // The rest of the tower is not the connector's cost; the difference keeps alive what the connector made for it.
    resume: (layer, map) => {
      const sizes = { b, h: map.size('h'), w: map.size('w'), c };
      const rest = asked.input(`resumed_${k}_layer_${layer}`, 'b h w c', sizes, dtype);
      return rest.add(map.sub(map));
    },
  };
}

export interface Inside {
  /** Hidden states after each layer that is changed. */
  readonly outputs: Readonly<Record<string, Tensor<'b s e', Float>>>;
  readonly injected: readonly number[];
  /** Visual positions in each layer of the language model. */
  readonly positions: readonly number[];
}

/** What the connector does inside the language model, each layer on hidden states of its own. */
export function injectionsOf(
  t: Trace,
  connector: AnyConnector,
  config: unknown,
  made: VisualTokens,
  { model, dtype, question }: Surroundings,
): Inside {
  let visual = made.tokens.size('n');
  const all = (count: number) => Array.from({ length: count }, () => visual);
  const { inject } = connector;
  if (inject === undefined) return { outputs: {}, injected: [], positions: all(model.layers) };
  const injected = inject.after(config, model.layers);
  const outputs: Record<string, Tensor<'b s e', Float>> = {};
  const positions: number[] = [];
  for (const [index, layer] of injected.entries()) {
    positions.push(...all(Math.max(0, layer + 1 - positions.length)));
    const [b, s] = [1, visual + question];
    const name = (what: string) => `llm_${what}_after_${layer}`;
    const state: InjectionState = {
      hidden: t.input<'b s e', Float>(name('hidden'), 'b s e', { b, s, e: model.width }, dtype),
      carried: made.carries ?? {},
      slots: t.input(name('slots'), 'b s', { b, s }, 'i32'),
      pictures: () => t.input(name('pictures'), 'b s', { b, s }, 'i32'),
      lastAttention: () => t.input<'b s', Float>(name('attention'), 'b s', { b, s }, dtype),
      angles: () =>
        anglesAt(
          t.input(name('positions'), 'b s', { b, s }, 'i32'),
          { theta: 10000, headSize: 128, scaling: { kind: 'none' } },
          s,
        ),
      nextAttention: () => t.input<'b s', Float>(name('next_attention'), 'b s', { b, s }, dtype),
    };
    const { hidden } = inject.apply(t.params, state, config, { layer, index });
    outputs[`after_${layer}`] = hidden;
    visual = Math.max(0, hidden.size('s') - question);
  }
  positions.push(...all(model.layers - positions.length));
  return { outputs, injected, positions };
}
