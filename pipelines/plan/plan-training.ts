// A training step of a released Cambrian at full size, compiled without weights and without a GPU: what it does and what it holds.
import { compile } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { randomParams } from '../../dsl/index.ts';
import { formatCount, formatTable } from '../../dsl/text/table.ts';
import { cambrianShapes } from '../../models/configs/cambrian.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import type { CambrianModel } from '../../models/multimodal/cambrian-model.ts';
import { cambrianLoss } from '../../models/multimodal/cambrian-training.ts';
import { printBytes } from '../../runtime/device/memory-budget.ts';
import { towerMaps } from '../train/frozen-towers.ts';
import { cambrianStage1, cambrianStage2 } from '../train/recipe/cambrian.ts';
import { resolveGroups } from '../train/step/groups.ts';
import { trainGraphs } from '../train/step/train-graph.ts';

export interface TrainingPlanOptions {
  readonly stage: 1 | 2;
  readonly dtype: 'f32' | 'f16';
  /** Tokens of a sequence, pictures included, and sequences at once. */
  readonly length: number;
  readonly batch: number;
  /** Default: a desktop GPU. */
  readonly profile?: DeviceProfile | undefined;
}

export interface PlannedTraining {
  readonly plan: Plan;
  readonly flops: number;
  readonly learned: readonly string[];
}

const noData = { file: '', images: '' };

/** One step of a stage of Cambrian's own recipe; the towers' maps are its inputs. Throws `OpabiniaError` where the device does not suffice. */
export function planTraining(model: CambrianModel, options: TrainingPlanOptions): PlannedTraining {
  const { config, towers } = model;
  const { length, batch, dtype, profile = desktopGpu } = options;
  const shapes = cambrianShapes(config, towers);
  const stage = (options.stage === 1 ? cambrianStage1 : cambrianStage2)({ data: noData, batch, length });
  const { optimizer, clip } = stage;
  const graphs = trainGraphs(
    shapedParams(shapes, randomParams(0, { dtype })),
    { groups: resolveGroups(stage.groups, [...shapes.keys()]), optimizer, clip },
    (t, p) =>
      cambrianLoss(t, p, {
        connector: config.connector,
        towers: towerMaps(model),
        language: config.language,
        schedule: config.schedule,
        batch,
        length,
        pictures: batch,
      }),
  );
  const plan = compile(graphs.step, profile);
  return { plan, flops: plan.dispatches.reduce((sum, { flops }) => sum + flops, 0), learned: graphs.learned };
}

/** Everything as text. */
export function printTraining({ plan, flops, learned }: PlannedTraining, options: TrainingPlanOptions): string {
  const { memory } = plan;
  const total = memory.loaded + memory.states + memory.inputsAndOutputs + memory.activations;
  return [
    `a step of stage ${options.stage}, ${options.dtype}, ${options.batch} × ${options.length} tokens: ${learned.length} tensors learn, ${formatCount(flops)}FLOP in ${plan.dispatches.length} dispatches`,
    '',
    formatTable(
      [{ title: 'memory' }, { title: 'bytes', align: 'right' }],
      [
        ['frozen weights', printBytes(memory.loaded)],
        ['what learns, with its moments', printBytes(memory.states)],
        ['inputs and outputs', printBytes(memory.inputsAndOutputs)],
        ['activations', printBytes(memory.activations)],
        ['  of which live at once', printBytes(memory.liveBound)],
        ['while running', printBytes(total)],
      ],
    ),
  ].join('\n');
}
