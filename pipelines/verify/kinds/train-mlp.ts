// Golden kinds of the optimizers and of accumulation: a small MLP with a cross-entropy, trained for some steps by PyTorch.
import { crossEntropy, gelu, layerNorm, linear, tanh, type Params, type Trace } from '../../../dsl/index.ts';
import { trainGraphs } from '../../train/step/train-graph.ts';
import type { Optimizer, Scalar } from '../../train/optimizers/optimizer.ts';
import { adamW } from '../../train/optimizers/adamw.ts';
import type { ResolvedGroup } from '../../train/step/groups.ts';
import type { Outputs, Together } from '../backends.ts';
import type { GoldenFile } from '../golden-file.ts';
import type { GoldenModel, Kind } from '../kind.ts';
import {
  courseTolerance,
  groupsOf,
  optimizerOf,
  runCourse,
  scheduleOf,
  statesFrom,
  stepName,
  type Course,
  type MicroBatch,
} from './training.ts';
import { largestOf } from '../golden-gradients.ts';

/** fc1, LayerNorm, GELU, fc2, tanh, head: the sum of the cross-entropy over targets. */
function mlpLoss(file: GoldenFile, batch: number): (t: Trace, p: Params) => Scalar {
  const [inputs = 1, wide = 1, narrow = 1, classes = 1] = file.config.numbers('sizes');
  const eps = file.config.number('layernorm_eps', 1e-5);
  return (t, p) => {
    const x = t.input('x', 'n i', { n: batch, i: inputs }, file.dtype);
    const labels = t.input('labels', 'n', { n: batch }, 'i32');
    const first = layerNorm(p.at('norm'), linear(p.at('fc1'), x, 'h', { size: wide }), { eps });
    const second = tanh(linear(p.at('fc2'), gelu(first, 'exact'), 'k', { size: narrow }));
    const logits = linear(p.at('head'), second, 'c', { size: classes, bias: false });
    return crossEntropy(logits, labels, {
      axis: 'c',
      reduction: 'sum',
      ignore: file.config.number('ignore_index', -100),
    });
  };
}

/** Filled up to `rows` with rows whose label is ignored: batches of one training may differ in size. */
function batchAt(file: GoldenFile, prefix: string, rows: number): MicroBatch {
  const labels = [...file.numbers(`${prefix}.labels`)];
  const x = [...file.numbers(`${prefix}.x`)];
  const width = x.length / Math.max(1, labels.length);
  const ignored = file.config.number('ignore_index', -100);
  const targets = labels.filter((label) => label !== ignored).length;
  while (labels.length < rows) labels.push(ignored);
  while (x.length < rows * width) x.push(0);
  return {
    inputs: new Map([
      ['x', x],
      ['labels', labels],
    ]),
    targets,
  };
}

function rowsOf(file: GoldenFile, prefixes: readonly string[]): number {
  return Math.max(...prefixes.map((prefix) => file.size(`${prefix}.labels`, 0)));
}

function valuesAfter(file: GoldenFile, groups: readonly ResolvedGroup[], optimizer: Optimizer) {
  const known = new Set(file.outputs);
  const states = groups.flatMap(({ members }) =>
    members.flatMap((path) => [path, ...optimizer.slots.map((slot) => `${slot}.${path}`)]),
  );
  return async (step: number, state: Together['state']): Promise<Outputs> => {
    const found = new Map<string, ArrayLike<number>>();
    for (const name of states) {
      const output = `${stepName(step)}.${name}`;
      if (known.has(output)) found.set(output, await state(name));
    }
    return found;
  };
}

function model(
  file: GoldenFile,
  batch: number,
  course: Omit<Course, 'graphs' | 'after'>,
  optimizer: Optimizer,
  micro: number,
): GoldenModel {
  const { groups } = course;
  const graphs = trainGraphs(
    file.checkpoint,
    { groups, optimizer, clip: file.config.number('max_grad_norm', 0), accumulate: micro },
    mlpLoss(file, batch),
  );
  const common = courseTolerance(groups, 1e-5, 2e-5);
  return {
    inputs: new Map(),
    host: new Map(),
    training: {
      graphs: graphs.accumulate === undefined ? [graphs.step] : [graphs.step, graphs.accumulate],
      states: statesFrom(file.checkpoint, file),
      hold: (together) => runCourse({ ...course, graphs, after: valuesAfter(file, groups, optimizer) }, together),
    },
    tolerance: (output) => {
      const isSlot = optimizer.slots.some((slot) => output.includes(`.${slot}.`));
      return (
        common(output) ?? {
          absolute: isSlot ? 2e-5 * largestOf(file.numbers(`output.${output}`)) : 1e-5,
          relative: 0,
        }
      );
    },
  };
}

export const trainOptimizer: Kind = (file) => {
  const { config } = file;
  const prefixes = Array.from({ length: config.count('steps') }, (_, i) => `input.${stepName(i + 1)}`);
  const rows = rowsOf(file, prefixes);
  const steps = prefixes.map((prefix) => [batchAt(file, prefix, rows)]);
  const optimizer = optimizerOf(config.inner('optimizer') ?? config);
  const groups = groupsOf(config);
  const course = { groups, schedule: scheduleOf(config), total: config.number('total_steps', steps.length), steps };
  return model(file, rows, course, optimizer, 1);
};

/** Several steps on one accumulated gradient; the file holds the result of the last. */
export const trainAccumulation: Kind = (file) => {
  const { config } = file;
  const prefixes = config.numbers('micro_batches').map((_, i) => `input.micro_${i}`);
  const rows = rowsOf(file, prefixes);
  const micro = prefixes.map((prefix) => batchAt(file, prefix, rows));
  const paths = [...file.checkpoint.stored.keys()].filter((name) => !/^(input|output|grad)\./.test(name));
  const groups: readonly ResolvedGroup[] = [
    { paths, members: paths, lr: config.number('lr'), weightDecay: config.number('weight_decay', 0) },
  ];
  const last = Math.max(1, ...file.outputs.map((name) => Number(/^step_(\d+)\./.exec(name)?.[1] ?? 1)));
  const steps = Array.from({ length: last }, () => micro);
  const inner = config.inner('optimizer');
  const made = model(
    file,
    rows,
    { groups, schedule: { shape: 'constant' }, total: last, steps },
    inner === undefined ? adamW() : optimizerOf(inner),
    micro.length,
  );
  const { training } = made;
  if (training === undefined) return made;
  // The file's loss is one number: that of the first step.
  const hold = async (together: Together): Promise<Outputs> => {
    const outputs = new Map(await training.hold(together));
    return outputs.set('loss', [outputs.get('loss')?.[0] ?? NaN]);
  };
  return { ...made, training: { ...training, hold } };
};
