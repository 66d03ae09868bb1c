// Golden kinds of Cambrian's two stages: some steps of the connector, or of connector and language model, trained by PyTorch.
import { llama } from '../../../models/decoders/llama.ts';
import { cambrianInputs, cambrianLoss, type CambrianTraining } from '../../../models/multimodal/cambrian-training.ts';
import {
  collateForTraining,
  imagePlaceholder,
  layOutForInference,
  type InferenceSample,
  type SequenceBatch,
} from '../../../models/sequence/collate.ts';
import type { PictureSize } from '../../../models/sequence/masks.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import { trainGraphs } from '../../train/step/train-graph.ts';
import type { ResolvedGroup } from '../../train/step/groups.ts';
import type { GoldenFile } from '../golden-file.ts';
import type { Kind } from '../kind.ts';
import {
  courseTolerance,
  groupsOf,
  optimizerOf,
  runCourse,
  scheduleOf,
  statesFrom,
  stepName,
  type MicroBatch,
} from './training.ts';

interface Step {
  readonly batch: SequenceBatch;
  readonly pictures: readonly PictureSize[];
}

export const trainCambrian: Kind = (file) => {
  const { config } = file;
  const settings = config.inner('optimizer') ?? config;
  const steps = Array.from({ length: settings.count('steps') }, (_, i) => readStep(file, `input.${stepName(i + 1)}`));
  const training = settingOf(file, steps);
  const groups = groupsOf(config);
  const optimizer = optimizerOf(settings);
  const graphs = trainGraphs(
    file.checkpoint,
    { groups, optimizer, clip: settings.number('max_grad_norm', 0) },
    (t, p) => cambrianLoss(t, p, training),
  );
  const batches = steps.map((step, i) => [microBatch(file, training, step, `input.${stepName(i + 1)}`)]);
  const schedule = scheduleOf(settings);
  const common = courseTolerance(groups, 5e-5, 2e-4);
  const rateOf = new Map(groups.flatMap((group) => group.members.map((path) => [path, group.lr] as const)));
  return {
    inputs: new Map(),
    host: new Map(),
    training: {
      graphs: [graphs.step],
      states: statesFrom(file.checkpoint, file),
      hold: async (together) => {
        const outputs = new Map(
          await runCourse(
            { graphs, groups, schedule, total: settings.number('total_steps', steps.length), steps: batches },
            together,
          ),
        );
        for (const path of graphs.learned) outputs.set(`final.${path}`, await together.state(path));
        return outputs.set(
          updates,
          updatesOf(file, groups, (path) => outputs.get(`final.${path}`) ?? []),
        );
      },
      overall: {
        name: updates,
        expected: updatesOf(file, groups, (path) => file.numbers(`output.final.${path}`)),
        relative: 5e-3,
      },
    },
    tolerance: (output) => common(output) ?? { absolute: rateOf.get(output.replace(/^final\./, '')) ?? 0, relative: 0 },
  };
};

const updates = 'all updates';

/** What the parameters have moved by, end to end. */
function updatesOf(
  file: GoldenFile,
  groups: readonly ResolvedGroup[],
  last: (path: string) => ArrayLike<number>,
): readonly number[] {
  return groups.flatMap(({ members }) =>
    members.flatMap((path) => {
      const moved = last(path);
      return file.numbers(path).map((first, i) => (moved[i] ?? NaN) - first);
    }),
  );
}

function side(tokens: number): number {
  return Math.round(Math.sqrt(tokens));
}

function settingOf(file: GoldenFile, steps: readonly Step[]): CambrianTraining {
  const { config } = file;
  const channels = config.numbers('tower_dims');
  const language: unknown = config.raw('llm');
  return {
    connector: {
      groups: config.numbers('query_num_list').map(side),
      side: side(config.number('image_token_len')),
      depth: config.number('connector_depth'),
      heads: config.number('num_heads', 16),
    },
    towers: config
      .numbers('aux_token_len_list')
      .map((tokens, k) => ({ side: side(tokens), channels: channels[k] ?? 1 })),
    language: llama(language, file.path),
    schedule: config.flag('connector_only', false)
      ? undefined
      : {
          start: config.number('start_of_vision_sampler_layers'),
          stride: config.number('stride_of_vision_sampler_layers'),
          count: config.number('num_of_vision_sampler_layers'),
        },
    imagePosition: config.number('image_position'),
    batch: steps[0]?.batch.samples ?? 1,
    length: Math.max(...steps.map(({ batch }) => batch.length)),
    pictures: steps[0]?.pictures.length ?? 1,
    maskQuirk: config.text('layout') === 'train' && config.text('group_masks', 'reference') !== 'spatial',
  };
}

function readStep(file: GoldenFile, prefix: string): Step {
  const { config } = file;
  const sizes = file.numbers(`${prefix}.image_sizes_wh`);
  const pictures = Array.from({ length: sizes.length / 2 }, (_, i): PictureSize => ({
    width: sizes[2 * i] ?? 0,
    height: sizes[2 * i + 1] ?? 0,
  }));
  const grid = side(config.number('image_token_len'));
  if (config.text('layout') === 'train') {
    const samples = pictures.map((_, i) => ({
      ids: file.numbers(`${prefix}.raw_ids_${i}`),
      labels: file.numbers(`${prefix}.raw_labels_${i}`),
    }));
    const batch = collateForTraining(samples, pictures, {
      side: grid,
      imagePosition: config.number('image_position'),
      maxLength: config.number('max_length'),
      padId: config.number('pad_id', 0),
    });
    return { batch, pictures };
  }
  const [count = 0, length = 0] = file.shape(`${prefix}.input_ids`);
  const [ids = [], labels = [], attend = []] = ['input_ids', 'labels', 'attention_mask'].map((name) =>
    file.numbers(`${prefix}.${name}`),
  );
  let next = 0;
  const samples = Array.from({ length: count }, (_, i): InferenceSample => {
    const row = (values: readonly number[]) => values.slice(i * length, (i + 1) * length);
    const placeholders = row(ids).filter((id) => id === imagePlaceholder).length;
    const images = Array.from({ length: placeholders }, (_unused, j) => next + j);
    next += Math.max(1, placeholders);
    return { ids: row(ids), labels: row(labels), attend: row(attend), images };
  });
  const batch = layOutForInference(samples, pictures, { side: grid, maxLength: config.number('max_length', Infinity) });
  return { batch, pictures };
}

function microBatch(file: GoldenFile, training: CambrianTraining, step: Step, prefix: string): MicroBatch {
  const { inputs, targets } = cambrianInputs(training, step.batch, step.pictures);
  const features = training.towers.map((_, k): readonly [string, Numbers] => [
    `features_${k}`,
    file.numbers(`${prefix}.tower_features_${k}`),
  ]);
  return { inputs: new Map<string, Numbers>([...inputs, ...features]), targets };
}
