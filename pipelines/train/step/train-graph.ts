// One plan a step: forward, loss, backward, norm and clip, update. What lives from step to step is states, under the names of the checkpoint.
import {
  gradients,
  OpabiniaError,
  stack,
  trace,
  where,
  type Float,
  type Graph,
  type Params,
  type ParamSource,
  type Size,
  type Tensor,
  type Trace,
} from '../../../dsl/index.ts';
import { mapOp } from '../../../dsl/ops/map/index.ts';
import { apply } from '../../../dsl/tensor.ts';
import type { Optimizer, Scalar, Value } from '../optimizers/optimizer.ts';
import { flattened, type Gradient } from './flat-gradients.ts';
import { clipFactor, gradientNorm } from './gradient-norm.ts';
import type { ResolvedGroup } from './groups.ts';
import { openLossScale, type LossScaling } from './loss-scale.ts';
import { trainedParams } from './trained-params.ts';
import { plural } from '../../../dsl/text/plural.ts';

/**
 * The sum of what the targets of a batch cost: it is divided by the input `targets`, the number of all targets of a step. `learns` is false
 * where it is only looked at (default true): what a connector adds to the loss is left out then.
 */
export type LossSum = (t: Trace, p: Params, learns?: boolean) => Scalar;

export interface StepConfig {
  readonly groups: readonly ResolvedGroup[];
  readonly optimizer: Optimizer;
  /** Largest norm of all gradients together; none when absent or 0. */
  readonly clip?: number | undefined;
  readonly scaling?: LossScaling | undefined;
  /** Keeps a moving average of each parameter, in states `ema.{path}`: e ← d·e + (1 − d)·θ at every step that is applied. */
  readonly ema?: number | undefined;
  /** Micro-batches of one step; 1 by default. */
  readonly accumulate?: number | undefined;
}

/** The elements of the output `metrics`, in order. */
export const metricNames = ['loss', 'gradientNorm', 'applied', 'skippedInARow', 'scale', 'updates'] as const;
export type Metrics = Readonly<Record<(typeof metricNames)[number], number>>;

export interface TrainGraphs {
  /** Of every micro-batch but the last: adds to the gradients. Undefined where a step is one batch. */
  readonly accumulate: Graph | undefined;
  /** Of the last micro-batch, or the only one: the update. */
  readonly step: Graph;
  /** The loss alone, output `loss`: the sum over the targets of a batch. */
  readonly evaluate: Graph;
  /** Paths of what learns, in the order of the output `squares`. */
  readonly learned: readonly string[];
}

/**
 * Inputs besides those of the loss: `rates`, one a group, and `targets`. Output `metrics` (`metricNames`: the loss and the norm are those
 * before the update, the norm before clipping) and `squares`, Σ g² of each parameter. States: parameters under their paths, the
 * optimizer's slots as `{slot}.{path}`, `gradient.{path}` where gradients are accumulated, and counters.
 */
export function trainGraphs(source: ParamSource, config: StepConfig, loss: LossSum): TrainGraphs {
  const known = learnedBy(config);
  const micro = config.accumulate ?? 1;
  let learned: readonly string[] = [];
  const build = (part: 'step' | 'accumulate' | 'evaluate'): Graph =>
    trace(
      source,
      (t) => {
        const { params, values, read } = trainedParams(t, (path) => known.has(path));
        if (part === 'evaluate') return { loss: loss(t, params, false) };
        const openings = openStep(t, config, loss, params, micro > 1);
        learned = [...values.keys()];
        checkRead(known, values);
        return part === 'step' ? finish(t, config, openings, values, read) : collect(t, openings, read);
      },
      { unread: 'ignore' },
    );
  const step = build('step');
  return { step, learned, accumulate: micro > 1 ? build('accumulate') : undefined, evaluate: build('evaluate') };
}

function groupOf({ groups }: StepConfig, path: string): number {
  return groups.findIndex((group) => group.members.includes(path));
}

function learnedBy(config: StepConfig): ReadonlySet<string> {
  return new Set(config.groups.flatMap((group) => group.members));
}

/** A parameter that the model never reads would be saved as if it had been trained. */
function checkRead(known: ReadonlySet<string>, values: ReadonlyMap<string, Value>): void {
  const unread = [...known].filter((path) => !values.has(path));
  if (unread.length === 0) return;
  throw new OpabiniaError(
    `${plural(unread.length, 'parameter')} should learn and ${unread.length === 1 ? 'is' : 'are'} not read by the loss: ${unread.slice(0, 3).join(', ')}`,
    { op: 'train', advice: "take them out of the groups with '!glob', or freeze them" },
  );
}

interface Opening {
  /** Of this micro-batch, by all targets of the step; times the loss scale for the gradients. */
  readonly share: Scalar;
  readonly scaled: Scalar;
  readonly scale: ReturnType<typeof openLossScale>;
  /** What earlier micro-batches of the step left. */
  readonly earlier: Scalar | undefined;
}

function openStep(t: Trace, config: StepConfig, loss: LossSum, params: Params, accumulates: boolean): Opening {
  const sum = loss(t, params, true);
  const share = sum.cast('f32').div(t.input('targets', '', {}));
  const scale = openLossScale(t, config.scaling);
  return {
    share,
    scaled: scale.scale === undefined ? share : share.mul(scale.scale),
    scale,
    earlier: accumulates ? t.state('loss', '', {}) : undefined,
  };
}

function gradientsOf({ scaled }: Opening, read: ReadonlyMap<string, Gradient>): readonly Gradient[] {
  return gradients(scaled, [...read.values()], { unused: 'zeros' });
}

/** Gradients wait, scaled, in states of their own. */
function collect(t: Trace, opening: Opening, read: ReadonlyMap<string, Gradient>): Readonly<Record<string, Tensor>> {
  const paths = [...read.keys()];
  gradientsOf(opening, read).forEach((gradient, i) => {
    const held = gradientState(t, paths[i] ?? '', gradient);
    t.update(held, held.add(gradient.cast('f32') as Value));
  });
  if (opening.earlier !== undefined) t.update(opening.earlier, opening.earlier.add(opening.share));
  return {};
}

function gradientState(t: Trace, path: string, like: Gradient): Value {
  return stateLike(t, `gradient.${path}`, like);
}

function stateLike(t: Trace, name: string, like: Gradient): Value {
  return t.state<string, 'f32'>(name, ...shapeOf(like));
}

function shapeOf(like: Gradient): readonly [axes: string, sizes: Readonly<Record<string, Size>>] {
  return [
    like.axes.map((axis) => axis.name).join(' '),
    Object.fromEntries(like.axes.map((axis) => [axis.name, axis.size])),
  ];
}

function finish(
  t: Trace,
  config: StepConfig,
  opening: Opening,
  values: ReadonlyMap<string, Value>,
  read: ReadonlyMap<string, Gradient>,
): Readonly<Record<string, Tensor>> {
  const { share, scale, earlier } = opening;
  const paths = [...read.keys()];
  const own = gradientsOf(opening, read);
  const updates = t.state('updates', '', {});
  const summed = own.map((gradient, i): Gradient => {
    if (earlier === undefined) return gradient;
    const held = gradientState(t, paths[i] ?? '', gradient);
    // Always 0, as a map of the state: that is written where the state lies. A constant would be stored first, as large as the gradient.
    t.update(held, where(updates.lt(0), held, 0) as Value);
    return held.add(gradient.cast('f32') as Value);
  });
  const unscaled = (gradient: Gradient): Value => {
    const wide = gradient.cast('f32') as Value;
    return scale.scale === undefined ? wide : wide.div(scale.scale);
  };
  const { gradients: flat, squares } = flattened(summed, (i) => groupOf(config, paths[i] ?? ''), unscaled);
  const { norm, finite } = gradientNorm(squares);
  const applied = finite.cast('f32');
  scale.settle(applied);
  const total = earlier === undefined ? share : earlier.add(share);
  if (earlier !== undefined) t.update(earlier, t.constant(0, '', {}));

  t.update(updates, updates.add(applied));
  const skipped = t.state('skipped_in_a_row', '', {});
  const skippedNow = where(finite, 0, skipped.add(1));
  t.update(skipped, skippedNow);

  const clip = config.clip === undefined || config.clip === 0 ? undefined : clipFactor(t, norm, config.clip);
  const gradientOf = new Map(
    // Where nothing is clipped, updates wait for the norm all the same: none is begun by the kernel of a gradient.
    flat.map((gradient, i): [string, Value] => {
      // Until then a gradient lies as it was made: behind `again`, its own kernel does not widen it.
      const own = unscaled(apply<string, Float>('again', mapOp('again'), [gradient]));
      return [paths[i] ?? '', clip === undefined ? (where(finite, own, 0) as Value) : own.mul(clip)];
    }),
  );
  const corrections = new Map<number, Scalar>();
  const correction = (beta: number): Scalar => {
    const made = corrections.get(beta) ?? openCorrection(t, beta, finite);
    corrections.set(beta, made);
    return made;
  };
  const rates = t.input('rates', 'g', { g: config.groups.length });
  config.groups.forEach((group, g) => {
    const optimizer = group.optimizer ?? config.optimizer;
    const rate = rates.at('g', g);
    for (const path of group.members) {
      const [value, gradient] = [values.get(path), gradientOf.get(path)];
      if (value === undefined || gradient === undefined) continue;
      const slots = new Map(optimizer.slots.map((slot) => [slot, stateLike(t, `${slot}.${path}`, value)]));
      const next = optimizer.update(
        { value, gradient, slots },
        { rate, decay: group.weightDecay ?? 0, first: updates.eq(0), correction },
      );
      // A step that is not finite leaves everything as it was.
      const kept = next.value.where(finite, value);
      t.update(value, kept);
      for (const [slot, state] of slots) {
        const changed = next.slots.get(slot);
        if (changed !== undefined) t.update(state, changed.where(finite, state));
      }
      if (config.ema !== undefined) {
        const average = stateLike(t, `ema.${path}`, value);
        t.update(
          average,
          average
            .mul(config.ema)
            .add(kept.mul(1 - config.ema))
            .where(finite, average),
        );
      }
    }
  });
  const metrics: Record<(typeof metricNames)[number], Scalar> = {
    loss: total,
    gradientNorm: norm,
    applied,
    skippedInARow: skippedNow,
    scale: scale.scale ?? t.constant(1, '', {}),
    updates: updates.add(applied),
  };
  return {
    metrics: stack(
      metricNames.map((name) => metrics[name]),
      'm',
    ),
    squares,
  };
}

/** 1 − βᵗ without cancellation: c ← β·c + (1 − β) from 0, which is exact to rounding where 1 − 0.999ᵗ is not. */
function openCorrection(t: Trace, beta: number, finite: Tensor<'', 'bool'>): Scalar {
  const state = t.state(`correction.${beta}`, '', {});
  const next = state.mul(beta).add(1 - beta);
  t.update(state, where(finite, next, state));
  return next;
}
