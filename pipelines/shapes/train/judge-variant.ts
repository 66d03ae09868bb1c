// A trained variant on the pictures that were held out: each answer, with other pictures' maps too, and which encoder it came from.
import { compile } from '../../../compiler/compile.ts';
import { abs, einsum, gradients, reduce, trace, type Float, type Tensor } from '../../../dsl/index.ts';
import { deviceProfile } from '../../../runtime/device/dawn.ts';
import type { Device } from '../../../runtime/device/device.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { load, type Program } from '../../../runtime/program/program.ts';
import { answers, slices, type Slice } from '../scene/questions.ts';
import { questionsPerPicture, trainPresets } from './presets.ts';
import { answersOf, inputsOf, type Task } from './task.ts';
import { graphSizes } from './train-variant.ts';
import { variantLogits, type Variant } from '../variants/variant.ts';

/** Everything that tables, intervals and pictures are made of: plain numbers. */
export interface Judged {
  /** Class that was answered, picture by picture; −1 where there is no question. */
  readonly answers: readonly number[];
  readonly right: readonly (0 | 1)[];
  /** Right with the maps of another picture. */
  readonly shuffled: readonly (0 | 1)[];
  /** By slice the share of each encoder in what moved the answers: Σ |gradient · feature|. Empty where it reads no encoder. */
  readonly shares: Readonly<Record<string, readonly number[]>>;
  /** Of one picture with its questions, forward. */
  readonly flops: number;
  /** Of the first pictures, question by question, the same by cell of each map. */
  readonly looks: readonly (readonly (readonly number[])[])[];
}

/** Pictures whose looks are kept, and pictures for the shares. */
const [shown, weighed] = [6, 64];

export async function judgeVariant(variant: Variant, task: Task, source: Source, device: Device): Promise<Judged> {
  const { batch } = trainPresets[task.preset];
  const count = task.held.scenes.length;
  const sizes = graphSizes(task, batch);
  const forward = trace(source, (t) => ({ logits: variantLogits(t, t.params, variant, sizes).logits }), {
    unread: 'ignore',
  });
  const plan = compile(forward, deviceProfile(device));
  const flops = plan.dispatches.reduce((sum, dispatch) => sum + dispatch.flops, 0) / batch;
  const program = await load(plan, device, source);
  const given: number[] = [];
  const right: (0 | 1)[] = [];
  const shuffled: (0 | 1)[] = [];
  try {
    for (let start = 0; start < count; start += batch) {
      const indices = Array.from({ length: batch }, (_, i) => (start + i) % count);
      const kept = Math.min(batch, count - start) * questionsPerPicture;
      const labels = answersOf(task.held, indices).subarray(0, kept);
      const own = (await classes(program, inputsOf(variant, task.held, indices))).slice(0, kept);
      const others = indices.map((index) => (index + Math.floor(count / 2) + 1) % count);
      const foreign = await classes(program, inputsOf(variant, task.held, indices, others));
      labels.forEach((label, i) => {
        given.push(label < 0 ? -1 : (own[i] ?? -1));
        right.push(label >= 0 && own[i] === label ? 1 : 0);
        shuffled.push(label >= 0 && foreign[i] === label ? 1 : 0);
      });
    }
  } finally {
    program.dispose();
  }
  const seen = await attributed(variant, task, source, device);
  return { answers: given, right, shuffled, flops, ...seen };
}

/** The class with the largest logit, question by question. */
export async function classes(
  program: Program,
  inputs: ReadonlyMap<string, Parameters<Program['run']>[0][string]>,
): Promise<readonly number[]> {
  const { logits } = await program.run(Object.fromEntries(inputs));
  const values = logits?.data ?? [];
  return Array.from({ length: values.length / answers.length }, (_, row) => {
    let best = 0;
    for (let a = 1; a < answers.length; a++)
      if (Number(values[row * answers.length + a]) > Number(values[row * answers.length + best])) best = a;
    return best;
  });
}

/** Which parts of the maps the answers of chosen questions come from: gradient times feature, its absolute value, summed over channels. */
async function attributed(
  variant: Variant,
  task: Task,
  source: Source,
  device: Device,
): Promise<Pick<Judged, 'shares' | 'looks'>> {
  if (variant.reads === 'nothing' || variant.reads === 'labels') return { shares: {}, looks: [] };
  const { batch } = trainPresets[task.preset];
  const sizes = graphSizes(task, batch);
  const graph = trace(
    source,
    (t) => {
      const { logits, inputs } = variantLogits(t, t.params, variant, sizes);
      const chosen = t.input('chosen', 'b q a', { b: batch, q: questionsPerPicture, a: answers.length });
      const total = einsum(logits, chosen, 'b q a, b q a -> ') as Tensor<'', Float>;
      return Object.fromEntries(
        gradients(total, inputs, { unused: 'zeros' }).map((gradient, k) => {
          const map = inputs[k];
          if (map === undefined) throw new RangeError('a gradient has its map');
          return [`look_${k}`, reduce(abs(map.mul(gradient)), 'b h w c -> b h w', 'sum')];
        }),
      );
    },
    { unread: 'ignore' },
  );
  const program = await load(compile(graph, deviceProfile(device)), device, source);
  const look = async (
    indices: readonly number[],
    isChosen: (question: number, slice: Slice | undefined) => boolean,
  ) => {
    const inputs = inputsOf(variant, task.held, indices);
    const labels = answersOf(task.held, indices);
    const chosen = new Float32Array(batch * questionsPerPicture * answers.length);
    labels.forEach((label, i) => {
      const q = i % questionsPerPicture;
      const question = task.held.questions[indices[Math.floor(i / questionsPerPicture)] ?? 0]?.[q];
      if (label >= 0 && isChosen(q, question?.slice)) chosen[i * answers.length + label] = 1;
    });
    inputs.set('chosen', chosen);
    const outputs = await program.run(Object.fromEntries(inputs));
    return Object.keys(outputs)
      .sort()
      .map((name) => Array.from(outputs[name]?.data ?? [], Number));
  };
  try {
    const shares: Record<string, readonly number[]> = {};
    const first = Array.from({ length: batch }, (_, i) => i % task.held.scenes.length);
    for (const slice of slices) {
      const sums: number[] = [];
      for (let start = 0; start < Math.min(weighed, task.held.scenes.length); start += batch) {
        const indices = first.map((index) => (index + start) % task.held.scenes.length);
        (await look(indices, (_, own) => own === slice)).forEach((values, k) => {
          sums[k] = (sums[k] ?? 0) + values.reduce((sum, value) => sum + value, 0);
        });
      }
      const all = sums.reduce((sum, value) => sum + value, 0);
      shares[slice] = sums.map((sum) => (all === 0 ? 0 : sum / all));
    }
    const looks: (readonly (readonly number[])[])[] = [];
    for (let q = 0; q < questionsPerPicture; q++) {
      const maps = await look(first, (own) => own === q);
      for (let i = 0; i < Math.min(shown, task.held.scenes.length); i++)
        looks[i * questionsPerPicture + q] = maps.map((values) => {
          const size = values.length / batch;
          return values.slice(i * size, (i + 1) * size).map((value) => Number(value.toPrecision(3)));
        });
    }
    return { shares, looks };
  } finally {
    program.dispose();
  }
}
