// A released model at full size, compiled without weights and without a GPU: what it is, costs and takes.
import { basename, resolve } from 'node:path';
import { compile } from '../../compiler/compile.ts';
import type { Plan, PlanDispatch } from '../../compiler/plan.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { OpabiniaError, randomParams, type Graph } from '../../dsl/index.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import { withoutPlaces } from '../../dsl/origin.ts';
import {
  cambrianModelShapes,
  cambrianPrefillGraph,
  visionGraph,
  type CambrianModel,
  type CambrianSizes,
} from '../../models/multimodal/cambrian-model.ts';
import { readConfig } from '../../models/configs/read.ts';
import { releasedCambrian, releasedTowers, type ReleasedName } from '../../models/configs/released.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { examine } from '../answer/examine.ts';
import type { AnswerSizes, ModelPart, View } from '../answer/family.ts';
import { trialPicture } from '../answer/trial-picture.ts';
import { partsOf } from './cambrian-parts.ts';
import { decodeGraph } from '../../models/decoders/generation-graphs.ts';
import { countParameters, shapedParams, type Shapes } from '../../models/configs/param-shapes.ts';
import { parseRepo } from '../../runtime/checkpoint/hub.ts';
import { statOf } from '../../runtime/files/regular-file.ts';
import { quantizedSource, type QuantizeOptions } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { memoryPlan, type MemoryPlan } from '../../runtime/program/memory-check.ts';
import { requireFields, requirePath, requireText } from '../../dsl/graph/required.ts';

const shortNames: Readonly<Record<string, ReleasedName>> = {
  '3b': 'cambrian-phi3-3b',
  'phi3-3b': 'cambrian-phi3-3b',
  'cambrian-3b': 'cambrian-phi3-3b',
  '8b': 'cambrian-8b',
  '13b': 'cambrian-13b',
  '34b': 'cambrian-34b',
};

/** Whether a text names a released model, rather than what is or should be on the disk: a misspelled name is one too. */
export function isReleased(text: string): boolean {
  if (/\.gguf$/i.test(text) || statOf(text, 'plan') !== undefined) return false;
  return parseRepo(text)?.repo.includes('/') !== true;
}

/** Throws `OpabiniaError` that lists the released models. */
export function releasedModel(text: string): { readonly name: ReleasedName; readonly model: CambrianModel } {
  const names = Object.keys(releasedCambrian) as readonly ReleasedName[];
  const name = shortNames[text] ?? names.find((known) => known === text);
  if (name === undefined)
    throw new OpabiniaError(`'${text}' is not a released model`, {
      op: 'plan',
      advice: nameAdvice(text, names),
    });
  const config = readConfig(releasedCambrian[name], name);
  if (config.kind !== 'cambrian') throw new TypeError('the released models are Cambrians');
  return { name, model: { config: config.cambrian, towers: releasedTowers } };
}

/** Parameters of each part of a Cambrian. */
export function parameterCounts(model: CambrianModel): ReadonlyMap<string, number> {
  return countsOf(partsOf(model), cambrianModelShapes(model));
}

function countsOf(parts: readonly ModelPart[], all: Shapes): ReadonlyMap<string, number> {
  const shapes = parts.map((): [string, readonly number[]][] => []);
  for (const [path, shape] of all) shapes[parts.findIndex((part) => part.owns(path))]?.push([path, shape]);
  return new Map(parts.map((part, i) => [part.name, countParameters(new Map(shapes[i]) satisfies Shapes)]));
}

export interface PlanOptions {
  readonly dtype: 'f32' | 'f16';
  /** Tokens of prompt and answer that the cache holds, and of the prompt, image tokens included. */
  readonly context: number;
  readonly prompt: number;
  readonly images: number;
  /** How matrices are stored; as `dtype` where it is left out. */
  readonly weights?: QuantizeOptions | 'floats' | undefined;
  /** Of a directory: where its towers are, where they are not found by themselves. */
  readonly towers?: readonly string[] | undefined;
  /** Of a directory that was assembled with a connector of your own. */
  readonly connectors?: readonly AnyConnector[] | undefined;
  /** What it is compiled for; a desktop GPU unless told otherwise. */
  readonly profile?: DeviceProfile | undefined;
}

export interface PlannedModel {
  readonly name: string;
  /** Those of the options, or what the model has positions for. */
  readonly context: number;
  readonly prompt: number;
  readonly parts: readonly string[];
  /** How many of them are towers: the first ones. */
  readonly towers: number;
  readonly parameters: ReadonlyMap<string, number>;
  readonly programs: readonly PlannedProgram[];
  readonly memory: MemoryPlan;
  readonly seconds: number;
  /** Largest resident size of the process so far, in bytes. */
  readonly hostBytes: number;
}

export interface PlannedProgram {
  readonly name: string;
  readonly plan: Plan;
  readonly seconds: number;
  /** By part, of one run at the bounds of its symbols. */
  readonly flops: ReadonlyMap<string, number>;
}

const planCall = "planModel('cambrian-8b', { dtype: 'f16', context: 2048, prompt: 1024, images: 1 })";
const planFields = { dtype: 'string', context: 'number', prompt: 'number', images: 'number' } as const;

/**
 * Traces and compiles all graphs of a released model.
 * @example const { memory } = planModel('cambrian-8b', { dtype: 'f16', context: 2048, prompt: 1024, images: 1 })
 */
export function planModel(
  text: string,
  options: PlanOptions,
  note: (what: string) => void = () => undefined,
): PlannedModel {
  requireText('planModel', text, 'the name', planCall);
  requireFields('planModel', options, planFields, planCall);
  const { name, model, graphs } = releasedGraphs(text, options);
  const { context, prompt } = options;
  const parameters = parameterCounts(model);
  return planGraphs({ name, context, prompt, graphs, parts: partsOf(model), parameters }, options, note);
}

/** The graphs of a released model over weights of its shapes. Throws `OpabiniaError` for a name that is none. */
export function releasedGraphs(
  text: string,
  options: Pick<PlanOptions, 'dtype' | 'context' | 'prompt' | 'images' | 'weights'>,
): {
  readonly name: string;
  readonly model: CambrianModel;
  readonly graphs: Readonly<Record<string, () => Graph>>;
} {
  const { name, model } = releasedModel(text);
  const plain = shapedParams(cambrianModelShapes(model), randomParams(0, { dtype: options.dtype }));
  const source = typeof options.weights === 'object' ? quantizedSource(plain, options.weights) : plain;
  const sizes: CambrianSizes = {
    batch: 1,
    capacity: options.context,
    promptLimit: options.prompt,
    imageLimit: options.images,
    draw: 'greedy',
  };
  const graphs = {
    'one picture': () => visionGraph(source, model, sizes),
    prefill: () => cambrianPrefillGraph(source, model, sizes),
    decode: () => decodeGraph(source, model.config.language, sizes),
  };
  return { name, model, graphs };
}

/**
 * The same of a model directory: of a Cambrian, an assembled model, a LLaVA or a language model. Headers of its weights are read, and no
 * value. Throws `OpabiniaError`.
 * @example const { memory } = await planDirectory('out/made', options)
 */
export async function planDirectory(
  directory: string,
  options: PlanOptions,
  note?: (what: string) => void,
): Promise<PlannedModel> {
  requirePath('planDirectory', directory, 'the model', planCall);
  requireFields('planDirectory', options, planFields, planCall);
  const { dtype, weights, towers, connectors } = options;
  const { plan, opened, close } = await examine(directory, { dtype, weights, towers, connectors }, async (step) =>
    step(),
  );
  if (plan === undefined || opened === undefined) throw new TypeError('what does not open throws');
  try {
    const { family, source, language } = opened;
    const capacity = Math.min(options.context, language.config.maxPositions);
    const sizes = {
      batch: 1,
      capacity,
      promptLimit: Math.min(options.prompt, capacity - 1),
      imageLimit: options.images,
      draw: 'greedy',
    } as const;
    const { vision } = family;
    const laid =
      family.seesByView === true ? await family.layOut([{ text: 'a', images: [trialPicture] }], {}) : undefined;
    const graphs = {
      ...Object.fromEntries(
        (laid?.views ?? []).map(({ graph }) => ['one picture', () => graphOf(graph, sizes)] as const),
      ),
      ...(vision === undefined ? {} : { 'one picture': () => vision(sizes) }),
      prefill: () => family.prefill(sizes),
      decode: () => family.decode(sizes),
    };
    const shapes = new Map([...(source.names() ?? [])].map((path) => [path, source.shape(path) ?? []] as const));
    const parameters = countsOf(plan.parts, shapes);
    const held = { name: basename(resolve(directory)), context: capacity, prompt: sizes.promptLimit };
    return planGraphs({ ...held, graphs, parts: plan.parts, parameters }, options, note);
  } finally {
    close();
  }
}

function graphOf(graph: View['graph'], sizes: AnswerSizes): Graph {
  if (graph === undefined) throw new TypeError('a family that sees by views has a graph for each');
  return graph.make(sizes);
}

interface Planning extends Pick<PlannedModel, 'name' | 'context' | 'prompt' | 'parameters'> {
  readonly graphs: Readonly<Record<string, () => Graph>>;
  readonly parts: readonly ModelPart[];
}

function planGraphs(
  { name, context, prompt, graphs, parts, parameters }: Planning,
  options: PlanOptions,
  note: (what: string) => void = () => undefined,
): PlannedModel {
  const began = performance.now();
  const programs = Object.entries(graphs).map(([program, make]): PlannedProgram => {
    note(`compiling ${program}`);
    const start = performance.now();
    // The code that asks for these nodes is ours, and finding its lines out is a third of what tracing takes.
    const plan = compile(withoutPlaces(make), options.profile ?? desktopGpu);
    return {
      name: program,
      plan,
      seconds: (performance.now() - start) / 1000,
      flops: flopsByPart(plan.dispatches, parts, program === 'one picture' ? 'connector' : 'language model'),
    };
  });
  const partName = (path: string): string => parts.find((part) => part.owns(path))?.name ?? '';
  return {
    name,
    context,
    prompt,
    programs,
    parts: parts.map((part) => part.name),
    towers: parts.filter((part) => part.isTower === true).length,
    parameters,
    memory: memoryPlan(programs, { partOf: partName }),
    seconds: (performance.now() - began) / 1000,
    hostBytes: process.resourceUsage().maxRSS * 1024,
  };
}

function flopsByPart(
  dispatches: readonly PlanDispatch[],
  parts: readonly ModelPart[],
  unnamed: string,
): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const { path, flops } of dispatches.flatMap((dispatch) => dispatch.shares ?? dispatch)) {
    const part = path === '' ? unnamed : (parts.find(({ owns }) => owns(path))?.name ?? unnamed);
    sums.set(part, (sums.get(part) ?? 0) + flops);
  }
  return sums;
}
