// Kernels that do not wait for one another share a dispatch: the workgroups of one, then those of the other. A step of training is many small
// sums beside few large products; a product's two gradients read the same rows.
import { constantIndex } from '../index/index-math.ts';
import { readsSizes } from '../kernel/emit.ts';
import { sharedBytes, type Kernel, type KernelPart, type Shared, type Slot, type Stmt } from '../kernel/kernel.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import type { Assembly } from './assemble.ts';
import { storageBytes, Traffic, waitsOf, type Step } from './kernel-order.ts';

/** What memory at the fullest moment may grow by. */
const slack = 1.02;

interface Dispatch {
  readonly steps: Step[];
  readonly parts: Kernel[];
}

/** Hosts that are tried for one kernel: whether memory suffices is found by counting all of it. */
const tries = 3;

export interface SharedDispatchOptions {
  /** Which kernels may stand in one dispatch with others; all unless told. */
  readonly may?: ((step: Step, others: readonly Step[]) => boolean) | undefined;
  /** A kernel goes to the first dispatch that takes it, not to the last. */
  readonly early?: boolean | undefined;
  /** How many dispatches behind the first possible one a kernel looks for a place: what waits for it is late with it. Without end unless told. */
  readonly reach?: number | undefined;
  /** Sizes of a run, which take a binding where a kernel reads one. */
  readonly symbols?: readonly string[] | undefined;
}

/** A map over this many workgroups at most, of two subgroups each, leaves room on the largest GPUs: 132 cores with 32 of them. */
const lightWorkgroups = 4096;

/** A small map beside others. */
export function areLight(step: Step, others: readonly Step[]): boolean {
  return [step, ...others].every(
    (one) => one.group.template === 'map' && workgroupsOf([one.kernel]) <= lightWorkgroups,
  );
}

/** One kernel on other values: it fills the device no less beside itself. */
export function areSame(step: Step, others: readonly Step[]): boolean {
  return others.every((one) => one.kernel.body === step.kernel.body);
}

/** Kernels of one template that are not so many workgroups each: those of towers that see the same picture, beside one another. */
export function areNarrow(step: Step, others: readonly Step[], most: number): boolean {
  return [step, ...others].every((one) => one.template === step.template && workgroupsOf([one.kernel]) <= most);
}

/**
 * The same kernels in fewer dispatches. A kernel goes to an earlier one that it need not wait for, has the same workgroups, and with which it
 * fits the device's bindings, rather to one that reads what it reads. What it makes is alive from then on: where the fullest
 * moment would hold more, it stays. `early`: one that finds no such place stands right behind what it waits for, so that what follows it
 * can go with what follows there.
 */
export function withSharedDispatches(
  assembly: Assembly,
  profile: DeviceProfile,
  { may = () => true, early = false, reach = Infinity, symbols = [] }: SharedDispatchOptions = {},
): Assembly {
  const { steps } = assembly;
  if (choicesOf(profile).kernelsInDispatch <= 1) return assembly;
  const known = new Map<readonly Stmt[], boolean>();
  const hasSizes = ({ body }: Kernel): boolean => {
    const has = known.get(body) ?? readsSizes(body, symbols);
    known.set(body, has);
    return has;
  };
  const kept = new Set([...assembly.sources.values(), ...assembly.outputs.values()]);
  const traffic = new Traffic(
    steps.map((step) => step.kernel.slots),
    kept,
  );
  const most = slack * traffic.peak(steps.map((_, i) => [i]));
  const isWithin: Sharing['isWithin'] = (held) => traffic.peak(held()) <= most;
  // Counting what all of it holds for every choice is most of the work: first without, which often does.
  const free = shared(steps, { may, early, reach, profile, hasSizes, isWithin: () => true });
  const number = new Map(steps.map((step, i) => [step, i]));
  const dispatches = isWithin(() => free.map((one) => one.steps.flatMap((step) => number.get(step) ?? [])))
    ? free
    : shared(steps, { may, early, reach, profile, hasSizes, isWithin });
  return { ...assembly, steps: dispatches.map((dispatch) => joined(dispatch, profile.maxGrid)) };
}

interface Sharing extends Required<Pick<SharedDispatchOptions, 'early'>> {
  readonly reach: number;
  readonly profile: DeviceProfile;
  readonly may: (step: Step, others: readonly Step[]) => boolean;
  readonly hasSizes: (kernel: Kernel) => boolean;
  /** Whether what dispatches of these kernels hold, one after the other, is not too much at the fullest moment. */
  readonly isWithin: (dispatches: () => readonly (readonly number[])[]) => boolean;
}

function shared(steps: readonly Step[], sharing: Sharing): readonly Dispatch[] {
  const { may, early, isWithin } = sharing;
  const waits = waitsOf(steps);
  const dispatches: Dispatch[] = [];
  /** The kernels of each. */
  const numbers: number[][] = [];
  const at = new Map<number, number>();
  steps.forEach((step, i) => {
    const earliest = Math.max(-1, ...[...(waits[i] ?? [])].map((other) => at.get(other) ?? -1)) + 1;
    /** The kernels when this one stands in a dispatch, or in front of it. */
    const heldWith = (d: number, isOwn: boolean) => (): readonly (readonly number[])[] => [
      ...numbers.flatMap((own, other) => {
        if (other !== d) return [own];
        return isOwn ? [[i], own] : [[...own, i]];
      }),
      ...steps.slice(i + 1).map((_, later) => [i + 1 + later]),
    ];
    const hosts = may(step, []) ? hostsOf(step, dispatches, earliest, sharing) : [];
    const host = hosts.slice(0, tries).find((d) => isWithin(heldWith(d, false)));
    let chosen = host ?? dispatches.length;
    if (host === undefined) {
      if (early && earliest < dispatches.length && isWithin(heldWith(earliest, true))) chosen = earliest;
      for (const [other, d] of at) if (d >= chosen) at.set(other, d + 1);
      dispatches.splice(chosen, 0, { steps: [], parts: [] });
      numbers.splice(chosen, 0, []);
    }
    numbers[chosen]?.push(i);
    dispatches[chosen]?.steps.push(step);
    dispatches[chosen]?.parts.push(step.kernel);
    at.set(i, chosen);
  });
  return withLateGuests(dispatches, sharing, steps);
}

/** A kernel that is still alone may find company behind it, in front of what waits for it. */
function withLateGuests(
  dispatches: readonly Dispatch[],
  sharing: Sharing,
  steps: readonly Step[],
): readonly Dispatch[] {
  const { may, reach, isWithin } = sharing;
  const waits = waitsOf(steps);
  const number = new Map(steps.map((step, i) => [step, i]));
  const all = [...dispatches];
  for (let d = all.length - 2; d >= 0; d--) {
    const [step, ...more] = all[d]?.steps ?? [];
    const own = step === undefined ? undefined : number.get(step);
    if (step === undefined || own === undefined || more.length > 0 || !canShare(step.kernel) || !may(step, []))
      continue;
    for (let e = d + 1; e < Math.min(all.length, d + 1 + reach); e++) {
      const host = all[e];
      if (host === undefined || host.steps.some((other) => waits[number.get(other) ?? -1]?.has(own) === true)) break;
      if (!may(step, host.steps) || !fits(host, step.kernel, sharing)) continue;
      const joined = { steps: [...host.steps, step], parts: [...host.parts, step.kernel] };
      const next = all.map((one, i) => (i === e ? joined : one)).filter((_, i) => i !== d);
      if (!isWithin(() => next.map((one) => one.steps.flatMap((other) => number.get(other) ?? [])))) continue;
      all.splice(0, all.length, ...next);
      break;
    }
  }
  return all;
}

/** Dispatches that a kernel may join, from `earliest` on: first those that read most of what it reads, then the first or the last. */
function hostsOf(
  step: Step,
  dispatches: readonly Dispatch[],
  earliest: number,
  { early, reach, profile, may, hasSizes }: Sharing,
): readonly number[] {
  if (!canShare(step.kernel)) return [];
  const hosts: { readonly at: number; readonly common: number }[] = [];
  for (let d = Math.min(dispatches.length, earliest + reach) - 1; d >= earliest; d--) {
    const dispatch = dispatches[d];
    if (dispatch === undefined || !may(step, dispatch.steps) || !fits(dispatch, step.kernel, { profile, hasSizes }))
      continue;
    const common = commonBytes(dispatch, step.kernel);
    hosts.push({ at: d, common });
  }
  const way = early ? 1 : -1;
  return hosts.sort((a, b) => b.common - a.common || way * (a.at - b.at)).map((host) => host.at);
}

/** Tensors in several bindings stand alone. */
function canShare(kernel: Kernel): boolean {
  const { grid, slots } = kernel;
  const isStackable = !isOpen(kernel) || grid[2].most === 1;
  return grid.every((n) => n.most > 0) && isStackable && slots.every((slot) => slot.piece === undefined);
}

/** Grids that depend on sizes of a run: parts of as many workgroups lie one behind the other along z. */
function isOpen({ grid }: Kernel): boolean {
  return grid.some((n) => n.terms.length > 0);
}

function gridKey({ grid }: Kernel): string {
  return grid.map((n) => n.key).join();
}

function fits(
  { parts }: Dispatch,
  kernel: Kernel,
  { profile, hasSizes }: Pick<Sharing, 'profile' | 'hasSizes'>,
): boolean {
  const [first] = parts;
  if (
    first === undefined ||
    parts.length >= choicesOf(profile).kernelsInDispatch ||
    first.threads !== kernel.threads ||
    !parts.every(canShare)
  )
    return false;
  if (workgroupsOf([...parts, kernel]) > profile.maxGrid ** 2) return false;
  if ([...parts, kernel].some(isOpen) && parts.some((part) => gridKey(part) !== gridKey(kernel))) return false;
  const slots = sharedSlots([...parts, kernel]);
  const sizes = [...parts, kernel].some(hasSizes) ? 1 : 0;
  if (slots.length + sizes > profile.maxBindings || !areApart(slots)) return false;
  return sharedBytes(pooled([...parts, kernel]).memory) <= profile.maxWorkgroupBytes;
}

/**
 * Workgroup memory of several parts, of which a workgroup runs one: arrays of a type stand for one another. `names`: of each part, what its own
 * are called.
 */
function pooled(parts: readonly Kernel[]): {
  readonly memory: readonly Shared[];
  readonly names: readonly ReadonlyMap<string, string>[];
} {
  const memory: Shared[] = [];
  const names = parts.map(({ shared }) => {
    const taken = new Set<number>();
    return new Map(
      shared.map(({ name, type, length }): [string, string] => {
        const known = memory.findIndex((one, i) => one.type === type && !taken.has(i));
        const at = known < 0 ? memory.length : known;
        taken.add(at);
        const common = memory[at] ?? { name: `memory_${at}`, type, length };
        memory[at] = { ...common, length: Math.max(common.length, length) };
        return [name, common.name];
      }),
    );
  });
  return { memory, names };
}

function workgroupsOf(parts: readonly Kernel[]): number {
  return parts.reduce((sum, { grid }) => sum + grid.reduce((count, n) => count * n.most, 1), 0);
}

/** No value is bound twice where it is written, and none together with a range of it: bindings would overlap. */
function areApart(slots: readonly Slot[]): boolean {
  return slots.every(
    (slot, i) =>
      !slot.write ||
      slots.every(
        (other, j) =>
          i === j ||
          (other.storage !== slot.storage &&
            other.storage !== slot.storage.within?.storage &&
            other.storage.within?.storage !== slot.storage),
      ),
  );
}

function commonBytes({ parts }: Dispatch, kernel: Kernel): number {
  const read = new Set(parts.flatMap((part) => part.slots.filter((s) => !s.write).map((s) => s.storage)));
  const common = new Set(kernel.slots.filter((s) => !s.write && read.has(s.storage)).map((s) => s.storage));
  return [...common].reduce((sum, storage) => sum + storageBytes(storage), 0);
}

/** One for each value and width that some part binds. */
function sharedSlots(parts: readonly Kernel[]): readonly Slot[] {
  const slots: Slot[] = [];
  for (const own of parts.flatMap((part) => part.slots)) {
    const known = slots.findIndex((slot) => slot.storage === own.storage && slot.width === own.width);
    const slot = slots[known];
    if (slot === undefined) slots.push(own);
    else if (own.write && !slot.write) slots[known] = { ...slot, write: true };
  }
  return slots.map((slot, i) => ({ ...slot, name: `${slot.write ? 'y' : 'x'}${i}` }));
}

/** `widest`: workgroups along one axis of a grid. */
function joined({ steps, parts }: Dispatch, widest: number): Step {
  const [first] = steps;
  if (first === undefined) throw new TypeError('a dispatch without kernels');
  if (steps.length === 1) return first;
  const slots = sharedSlots(parts);
  const { memory, names: inMemory } = pooled(parts);
  let from = 0;
  const isStacked = parts.some(isOpen);
  const own = parts.map((kernel, p): KernelPart => {
    const names = new Map(inMemory[p]);
    for (const slot of kernel.slots) {
      const common = slots.find((other) => other.storage === slot.storage && other.width === slot.width);
      if (common !== undefined) names.set(slot.name, common.name);
    }
    const { template, body, subgroups } = kernel;
    if (isStacked) return { template, from: p, grid: undefined, names, body, subgroups };
    const grid = kernel.grid.map((n) => n.constant) as unknown as readonly [number, number, number];
    const part = { template, from, grid, names, body, subgroups };
    from += grid[0] * grid[1] * grid[2];
    return part;
  });
  const [x, y] = parts[0]?.grid ?? [];
  const lines = Math.ceil(from / widest);
  const kernel: Kernel = {
    template: own.map((part) => part.template).join(' | '),
    threads: parts[0]?.threads ?? 1,
    grid:
      isStacked && x !== undefined && y !== undefined
        ? [x, y, constantIndex(parts.length)]
        : [constantIndex(Math.ceil(from / lines)), constantIndex(lines), constantIndex(1)],
    slots,
    shared: memory,
    body: [],
    parts: own,
    subgroups: parts.some((part) => part.subgroups),
    ...(parts.some((part) => part.matrices === true) ? { matrices: true } : {}),
    accesses: parts.flatMap((part) => part.accesses),
  };
  return {
    ...first,
    kernel,
    template: kernel.template,
    label: steps.map((step) => step.label).join(' | '),
    flops: steps.reduce((sum, step) => sum + step.flops, 0),
    shares: steps.map(({ path, flops }) => ({ path, flops })),
    together: steps,
  };
}
