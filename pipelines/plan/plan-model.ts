// A released model at full size, compiled without weights and without a GPU: what it is, costs and takes.
import { compile } from '../../compiler/compile.ts';
import type { Plan, PlanDispatch } from '../../compiler/plan.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { nearestNames, OpabiniaError, randomParams } from '../../dsl/index.ts';
import {
  cambrianModelShapes,
  cambrianPrefillGraph,
  towerRoot,
  visionGraph,
  type CambrianModel,
  type CambrianSizes,
} from '../../models/multimodal/cambrian-model.ts';
import { readConfig } from '../../models/configs/read.ts';
import { releasedCambrian, releasedTowers, type ReleasedName } from '../../models/configs/released.ts';
import { decodeGraph } from '../../models/decoders/generation-graphs.ts';
import { countParameters, shapedParams, type Shapes } from '../../models/configs/param-shapes.ts';
import { quantizedSource, type QuantizeOptions } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { memoryPlan, type MemoryPlan } from '../../runtime/program/memory-check.ts';

const shortNames: Readonly<Record<string, ReleasedName>> = {
  '3b': 'cambrian-phi3-3b',
  'phi3-3b': 'cambrian-phi3-3b',
  'cambrian-3b': 'cambrian-phi3-3b',
  '8b': 'cambrian-8b',
  '13b': 'cambrian-13b',
  '34b': 'cambrian-34b',
};

/** Throws `OpabiniaError` that lists the released models. */
export function releasedModel(text: string): { readonly name: ReleasedName; readonly model: CambrianModel } {
  const names = Object.keys(releasedCambrian) as readonly ReleasedName[];
  const name = shortNames[text] ?? names.find((known) => known === text);
  if (name === undefined)
    throw new OpabiniaError(`'${text}' is not a released model`, {
      op: 'plan',
      advice: `${nearestNames(text, names, 1).join('')}? There are ${names.join(', ')}`,
    });
  const config = readConfig(releasedCambrian[name], name);
  if (config.kind !== 'cambrian') throw new TypeError('the released models are Cambrians');
  return { name, model: { config: config.cambrian, towers: releasedTowers } };
}

/** The parts in the order of the table; each has parameters below one of these paths. */
export interface Part {
  readonly name: string;
  readonly owns: (path: string) => boolean;
}

/** The last part takes what no other owns. */
export function partsOf({ config }: CambrianModel): readonly Part[] {
  const below = (path: string, root: string): boolean => path === root || path.startsWith(`${root}.`);
  return [
    ...config.towers.map((tower, k) => ({
      name: tower.name.split('/').at(-1) ?? tower.name,
      owns: (path: string) => below(path, towerRoot(k)),
    })),
    {
      name: 'connector',
      owns: (path) => /^model\.(mm_projector|vision_sampler_\d|vision_query|image_newline)/.test(path),
    },
    { name: 'SVA layers in the LLM', owns: (path) => below(path, 'model.vision_sampler_layers') },
    { name: 'language model', owns: () => true },
  ];
}

/** Parameters of each part. */
export function parameterCounts(model: CambrianModel): ReadonlyMap<string, number> {
  const parts = partsOf(model);
  const shapes = parts.map((): [string, readonly number[]][] => []);
  for (const [path, shape] of cambrianModelShapes(model))
    shapes[parts.findIndex((part) => part.owns(path))]?.push([path, shape]);
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
  /** What it is compiled for; a desktop GPU unless told otherwise. */
  readonly profile?: DeviceProfile | undefined;
}

export interface PlannedModel {
  readonly name: ReleasedName;
  readonly parts: readonly string[];
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

/**
 * Traces and compiles all graphs of a released model.
 * @example const { graphs } = planModel(text, options)
 */
export function planModel(
  text: string,
  options: PlanOptions,
  note: (what: string) => void = () => undefined,
): PlannedModel {
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
  const parts = partsOf(model);
  const began = performance.now();
  const programs = Object.entries(graphs).map(([program, make]): PlannedProgram => {
    note(`compiling ${program}`);
    const start = performance.now();
    const plan = compile(make(), options.profile ?? desktopGpu);
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
    programs,
    parts: parts.map((part) => part.name),
    parameters: parameterCounts(model),
    memory: memoryPlan(programs, { partOf: partName }),
    seconds: (performance.now() - began) / 1000,
    hostBytes: process.resourceUsage().maxRSS * 1024,
  };
}

function flopsByPart(
  dispatches: readonly PlanDispatch[],
  parts: readonly Part[],
  unnamed: string,
): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const { path, flops } of dispatches) {
    const part = path === '' ? unnamed : (parts.find(({ owns }) => owns(path))?.name ?? unnamed);
    sums.set(part, (sums.get(part) ?? 0) + flops);
  }
  return sums;
}
