// A training step of a released Cambrian at full size, or of a directory, compiled without weights and without a GPU: what it does and what it holds.
import { compile } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { OpabiniaError, randomParams } from '../../dsl/index.ts';
import { formatCount, formatTable } from '../../dsl/text/table.ts';
import { cambrianShapes } from '../../models/configs/cambrian.ts';
import { shapedParams, type Shapes } from '../../models/configs/param-shapes.ts';
import type { CambrianModel } from '../../models/multimodal/cambrian-model.ts';
import { cambrianLoss } from '../../models/multimodal/cambrian-training.ts';
import { printBytes } from '../../runtime/device/memory-budget.ts';
import { towerMaps } from '../train/frozen-towers.ts';
import { cambrianStage1, cambrianStage2 } from '../train/recipe/cambrian.ts';
import { resolveGroups } from '../train/step/groups.ts';
import { trainGraphs, type LossSum } from '../train/step/train-graph.ts';
import { llavaStage1, llavaStage2 } from '../train/recipe/llava.ts';
import type { Stage } from '../train/recipe/recipe.ts';
import { checkLearns, towerShapesOf } from '../train/assembled-trainable.ts';
import { towersStayFrozen } from '../train/cambrian-trainable.ts';
import { AssembledFamily } from '../answer/families/assembled.ts';
import { CambrianFamily } from '../answer/families/cambrian.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { openModel } from '../answer/open-model.ts';
import { assembledShapes, type AssembledModel } from '../../models/multimodal/assembled-model.ts';
import { assembledLoss } from '../../models/multimodal/assembled-training.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface TrainingPlanOptions {
  readonly stage: 1 | 2;
  readonly dtype: 'f32' | 'f16';
  /** Tokens of a sequence, pictures included, and sequences at once. */
  readonly length: number;
  readonly batch: number;
  /** The towers of an assembled model are run at every step, and learn where the stage's groups mean them. */
  readonly unfreezeTowers?: boolean | undefined;
  /** As in a recipe: layers of the language model are computed again for the backward pass. */
  readonly gradientCheckpointing?: boolean | undefined;
  /** Of a model that was assembled with a connector of your own. */
  readonly connectors?: readonly AnyConnector[] | undefined;
  /** Default: a desktop GPU. */
  readonly profile?: DeviceProfile | undefined;
}

export interface PlannedTraining {
  readonly plan: Plan;
  readonly flops: number;
  readonly learned: readonly string[];
  /** Bytes of weights that do not learn, as they stay on the device. */
  readonly frozen: number;
}

const noData = { file: '', images: '' };

/** What of a model is planned: its parameters, its loss and the stage that trains it. */
export interface TrainingSubject {
  readonly shapes: Shapes;
  readonly loss: LossSum;
  readonly stage: Stage;
}

/** Cambrian's own recipe; the towers' maps are inputs. Throws `OpabiniaError` where its towers should learn. */
export function cambrianSubject(model: CambrianModel, options: TrainingPlanOptions): TrainingSubject {
  if (options.unfreezeTowers === true) throw towersStayFrozen('plan', `stage ${options.stage}`);
  const { config, towers } = model;
  const { length, batch } = options;
  return {
    shapes: cambrianShapes(config, towers),
    stage: (options.stage === 1 ? cambrianStage1 : cambrianStage2)({ data: noData, batch, length }),
    loss: (t, p) =>
      cambrianLoss(t, p, {
        connector: config.connector,
        towers: towerMaps(model),
        language: config.language,
        schedule: config.schedule,
        batch,
        length,
        pictures: batch,
        recomputes: options.gradientCheckpointing,
      }),
  };
}

/** LLaVA's recipe for an assembled model; `towers`: what they read, where they learn. Throws `OpabiniaError` for one that does not learn. */
export function assembledSubject(
  model: AssembledModel,
  options: TrainingPlanOptions,
  towers: Shapes = new Map(),
): TrainingSubject {
  checkLearns(model);
  const { length, batch, dtype } = options;
  const towersLearn = options.unfreezeTowers === true;
  const recomputes = options.gradientCheckpointing;
  return {
    shapes: new Map([...assembledShapes(model), ...towers]),
    stage: {
      ...(options.stage === 1 ? llavaStage1 : llavaStage2)({ data: noData, batch, length }),
      unfreezeTowers: towersLearn,
    },
    loss: (t, p, learns) =>
      assembledLoss(t, p, model, { batch, length, pictures: batch, dtype, towersLearn, learns, recomputes }),
  };
}

/** Of a model directory. Throws `OpabiniaError` for a family that no recipe trains. */
export async function subjectOf(directory: string, options: TrainingPlanOptions): Promise<TrainingSubject> {
  const opened = await openModel(directory, { dtype: options.dtype, connectors: options.connectors });
  const { family } = opened;
  try {
    if (family instanceof CambrianFamily) return cambrianSubject(family.model, options);
    if (family instanceof AssembledFamily)
      return assembledSubject(
        family.model,
        options,
        options.unfreezeTowers === true ? towerShapesOf(opened, family.model) : new Map(),
      );
  } finally {
    opened.close();
  }
  throw new OpabiniaError(`${directory} is neither a Cambrian nor an assembled model`, {
    op: 'plan',
    advice: 'recipes train those: `opabinia assemble` makes one of any language model',
  });
}

/** One step. Throws `OpabiniaError` where the device does not suffice. */
export function planTraining({ shapes, loss, stage }: TrainingSubject, options: TrainingPlanOptions): PlannedTraining {
  const { dtype, profile = desktopGpu } = options;
  const { optimizer, clip = 1, ema, scaling = dtype === 'f16' ? {} : undefined } = stage;
  const graphs = trainGraphs(
    shapedParams(shapes, randomParams(0, { dtype })),
    { groups: resolveGroups(stage.groups, [...shapes.keys()]), optimizer, clip, ema, scaling },
    loss,
  );
  const plan = compile(graphs.step, profile);
  const flops = plan.dispatches.reduce((sum, dispatch) => sum + dispatch.flops, 0);
  return { plan, flops, learned: graphs.learned, frozen: keptWeights(plan) };
}

/** Everything as text. */
export function printTraining({ plan, flops, learned, frozen }: PlannedTraining, options: TrainingPlanOptions): string {
  const { memory } = plan;
  const total = frozen + memory.states + memory.inputsAndOutputs + memory.activations;
  return [
    `a step of stage ${options.stage}, ${options.dtype}, ${options.batch} × ${plural(options.length, 'token')}: ${plural(learned.length, 'tensor learns', 'tensors learn')}, ${formatCount(flops)}FLOP in ${plural(plan.dispatches.length, 'dispatch', 'dispatches')}`,
    '',
    formatTable(
      [{ title: 'memory' }, { title: 'bytes', align: 'right' }],
      [
        ['frozen weights', printBytes(frozen)],
        ['what learns, with its moments', printBytes(memory.states)],
        ['inputs and outputs', printBytes(memory.inputsAndOutputs)],
        ['activations', printBytes(memory.activations)],
        ['  of which live at once', printBytes(memory.liveBound)],
        ['while running', printBytes(total)],
      ],
    ),
  ].join('\n');
}

/** As they are in the checkpoint, or as kernels read them. */
function keptWeights({ buffers }: Plan): number {
  const isKept = ({ role, transient }: Plan['buffers'][number]): boolean =>
    role === 'loaded' || role === 'constant' || (role === 'parameter' && transient !== true);
  return buffers.filter(isKept).reduce((sum, { bytes }) => sum + bytes, 0);
}
