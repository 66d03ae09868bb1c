// The memory plan of several programs together, checked against a device before anything is allocated.
import type { Plan } from '../../compiler/plan.ts';
import type { Device } from '../device/device.ts';
import { OutOfMemoryError } from '../device/failure.ts';
import { printBytes } from '../device/memory-budget.ts';
import { loadStages, stagePeak } from './load-stages.ts';
import { withArenas } from './shared-buffers.ts';
import { requireFields, requireList, requireOptions } from '../../dsl/graph/required.ts';

export interface MemoryItem {
  /** E.g. `weights of model.layers`, `activations of prefill`. */
  readonly name: string;
  readonly bytes: number;
  readonly kind: 'weights' | 'cache' | 'activations' | 'exchange';
}

export interface NamedPlan {
  readonly name: string;
  readonly plan: Plan;
}

export interface MemoryPlan {
  /** Largest first. */
  readonly items: readonly MemoryItem[];
  /** Bytes while programs run. */
  readonly running: number;
  /** Most bytes at once: while loading, weights that are rewritten stand beside what becomes of them. */
  readonly peak: number;
}

export interface MemoryOptions {
  /** The part that a parameter is counted under; by default what stands before the first number in its path. */
  readonly partOf?: ((parameter: string) => string) | undefined;
  /** Programs hold one copy of what is the same in them (`SharedBuffers`); by default yes. */
  readonly shared?: boolean | undefined;
}

/** Path up to the first number, two names at most: `model.layers`, `model.mm_projector_aux_0`. */
function partByPath(parameter: string): string {
  const names = parameter.split('.');
  const number = names.findIndex((name) => /^\d+$/.test(name));
  return names.slice(0, Math.min(2, number < 0 ? Math.max(1, names.length - 1) : number)).join('.');
}

/**
 * What programs that live at the same time take on the device, at the bounds of their symbols.
 * @example const { peak } = memoryPlan([{ name: 'connector', plan }])
 */
export function memoryPlan(programs: readonly NamedPlan[], options: MemoryOptions = {}): MemoryPlan {
  const call = "memoryPlan([{ name: 'connector', plan }])";
  requireList('memoryPlan', programs, 'the programs', call);
  for (const program of programs) requireFields('memoryPlan', program, { plan: 'object' }, call, 'a program');
  requireOptions('memoryPlan', options, '{ shared: false }');
  const { partOf = partByPath, shared = true } = options;
  const seen = new Set<string>();
  const arenas = new Map<string, number>();
  const sums = new Map<string, MemoryItem>();
  let transient = 0;
  const count = (kind: MemoryItem['kind'], name: string, bytes: number) => {
    if (bytes > 0)
      sums.set(`${kind} ${name}`, { kind, name, bytes: (sums.get(`${kind} ${name}`)?.bytes ?? 0) + bytes });
  };
  for (const { name, plan } of programs) {
    const keys = withArenas(plan, arenas);
    const names = storedNames(plan);
    const fresh = plan.buffers.map((_, i) => {
      const key = shared ? keys[i] : undefined;
      if (key === undefined) return true;
      const first = !seen.has(key);
      seen.add(key);
      return first;
    });
    plan.buffers.forEach((buffer, i) => {
      if (fresh[i] !== true || buffer.transient === true) return;
      switch (buffer.role) {
        case 'parameter':
        case 'loaded':
        case 'constant':
          count('weights', `weights of ${partOf(names[i] ?? buffer.name)}`, buffer.bytes);
          break;
        case 'state':
          count('cache', 'key-value cache and images', buffer.bytes);
          break;
        case 'arena':
          count('activations', `activations of ${name}`, buffer.bytes);
          break;
        case 'input':
        case 'output':
        case 'symbols':
          count('exchange', `inputs and outputs of ${name}`, buffer.bytes);
          break;
        default:
          buffer.role satisfies never;
      }
    });
    // Programs are loaded one after the other: only one stage of one of them holds raw weights at a time.
    const made = plan.buffers.flatMap((buffer, i) => (buffer.role === 'loaded' && fresh[i] === true ? [i] : []));
    transient = Math.max(transient, stagePeak(plan, loadStages(plan, new Set(made))));
  }
  const items = [...sums.values()].sort((a, b) => b.bytes - a.bytes);
  const running = items.reduce((sum, item) => sum + item.bytes, 0);
  return { items, running, peak: running + transient };
}

/** By buffer: the path of what is stored there. */
function storedNames(plan: Plan): readonly (string | undefined)[] {
  const names = new Array<string | undefined>(plan.buffers.length);
  for (const tensor of [...plan.parameters, ...plan.states]) names[tensor.buffer] ??= tensor.name;
  return names;
}

export interface MemoryLimit {
  readonly device: string;
  /** Bytes that may be allocated. */
  readonly budget: number;
}

/** What is free on a device. */
export function freeOn({ facts, memory }: Device): MemoryLimit {
  return { device: facts.name, budget: memory.budget - memory.now };
}

/** What can be made smaller. */
export interface Shrinkable {
  /** Absent: it is computed in no other. */
  readonly dtype?: 'f32' | 'f16' | undefined;
  /** Tokens that the cache holds. */
  readonly context?: number | undefined;
  readonly batch?: number | undefined;
}

/** Throws `OutOfMemoryError` with the three largest items and two ways to shrink. Nothing is allocated then. */
export function checkMemory(memory: MemoryPlan, limit: MemoryLimit, model: Shrinkable): void {
  if (memory.peak <= limit.budget) return;
  const largest = memory.items
    .slice(0, 3)
    .map((item) => `  ${printBytes(item.bytes).padStart(10)}  ${item.name}`)
    .join('\n');
  throw new OutOfMemoryError(
    `the model takes ${printBytes(memory.peak)} at its peak, and '${limit.device}' offers ${printBytes(limit.budget)}\n${largest}`,
    {
      op: 'memory',
      advice: waysToShrink(memory, limit, model).slice(0, 2).join(', or '),
    },
  );
}

/** What saves the most first. */
function waysToShrink(
  { items, peak }: MemoryPlan,
  { budget }: MemoryLimit,
  { dtype, context, batch }: Shrinkable,
): readonly string[] {
  const sum = (kind: MemoryItem['kind']) => items.reduce((all, item) => all + (item.kind === kind ? item.bytes : 0), 0);
  const [weights, cache, activations] = [sum('weights'), sum('cache'), sum('activations')];
  const over = peak - budget;
  const ways: { readonly text: string; readonly saves: number }[] = [];
  if (dtype === 'f32')
    ways.push({
      text: `hold weights and activations as f16 (--dtype f16), which saves ${printBytes((weights + cache + activations) / 2)}`,
      saves: (weights + cache + activations) / 2,
    });
  if (context !== undefined && cache > 0 && context > 1) {
    const each = cache / context;
    const fewer = Math.max(1, context - Math.ceil(over / each));
    ways.push({
      text: `shorten the context from ${context} to ${fewer} tokens: each takes ${printBytes(each)}`,
      saves: (context - fewer) * each,
    });
  }
  if (batch !== undefined && batch > 1)
    ways.push({
      text: `run fewer than ${batch} prompts at once, which share ${printBytes(cache + activations)}`,
      saves: ((cache + activations) * (batch - 1)) / batch,
    });
  ways.push(
    { text: `take a smaller model: the weights alone are ${printBytes(weights)}`, saves: 1 },
    { text: `give a larger budget, or a device with at least ${printBytes(peak)}`, saves: 0 },
  );
  return ways.sort((a, b) => b.saves - a.saves).map((way) => way.text);
}

/** Rows for a table: what, and bytes as text. */
export function memoryRows(memory: MemoryPlan): readonly (readonly [string, string])[] {
  return [
    ...memory.items.map((item) => [item.name, printBytes(item.bytes)] as const),
    ['while running', printBytes(memory.running)],
    ['peak, while loading', printBytes(memory.peak)],
  ];
}
