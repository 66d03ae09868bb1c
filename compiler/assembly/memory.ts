// Lifetimes to offsets in a few arenas. Dawn tracks hazards per buffer, so results and operands of one kernel stay in different arenas
// where that costs little; within an arena, the largest values are placed first, each into the lowest gap of its lifetime.

/** A value that lives from the step that first writes it to the step that last reads it. */
export interface Lifetime {
  readonly bytes: number;
  readonly from: number;
  readonly to: number;
}

export interface Spot {
  readonly arena: number;
  readonly offset: number;
}

export interface MemoryPlan {
  /** In the order of the lifetimes given. */
  readonly spots: readonly Spot[];
  readonly arenaBytes: readonly number[];
  /** Largest sum of simultaneously live values. */
  readonly liveBound: number;
}

export interface MemoryOptions {
  /** Pairs of lifetimes that one kernel reads and writes; kept in different arenas when that is cheap. */
  readonly apart: readonly (readonly [number, number])[];
  /** As `apart`, but never in one arena. */
  readonly strict: readonly (readonly [number, number])[];
  readonly alignment: number;
  readonly maxArenaBytes: number;
  /** More where what lives at once does not fit into so many. */
  readonly maxArenas: number;
}

/** What several arenas may cost over the bound before fewer are tried. */
const slack = 1.1;
/** What memory may grow by, as a part of the bound, to spare a kernel one conflict, which costs a barrier; less where nothing fits within the slack. */
const conflictCosts = [0.05, 0.02, 0];

export function planMemory(values: readonly Lifetime[], options: MemoryOptions): MemoryPlan {
  const liveBound = peak(values, options.alignment);
  let best: MemoryPlan | undefined;
  const needed = Math.ceil(liveBound / options.maxArenaBytes);
  const fewest = Math.max(needed, options.strict.length > 0 ? 2 : 1);
  for (const conflictCost of conflictCosts)
    for (let arenas = Math.max(options.maxArenas, needed + 2); arenas >= fewest; arenas--) {
      const plan = place(values, options, { arenas, liveBound, conflictCost });
      if (plan === undefined) continue;
      const total = sum(plan.arenaBytes);
      if (best === undefined || total < sum(best.arenaBytes)) best = plan;
      if (total <= slack * liveBound) return best;
    }
  return best ?? { spots: [], arenaBytes: [], liveBound };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

function align(bytes: number, to: number): number {
  return Math.ceil(bytes / to) * to;
}

/** Largest sum of simultaneously live values. */
export function peak(values: readonly Lifetime[], alignment: number): number {
  const steps = values.reduce((most, v) => Math.max(most, v.to), -1) + 1;
  const change = new Float64Array(steps + 1);
  for (const v of values) {
    change[v.from] = (change[v.from] ?? 0) + align(v.bytes, alignment);
    change[v.to + 1] = (change[v.to + 1] ?? 0) - align(v.bytes, alignment);
  }
  let live = 0;
  let most = 0;
  for (const c of change) {
    live += c;
    most = Math.max(most, live);
  }
  return most;
}

function place(
  values: readonly Lifetime[],
  options: MemoryOptions,
  {
    arenas,
    liveBound,
    conflictCost,
  }: { readonly arenas: number; readonly liveBound: number; readonly conflictCost: number },
): MemoryPlan | undefined {
  const avoid = values.map(() => new Set<number>());
  const never = values.map(() => new Set<number>());
  for (const [a, b] of options.apart) {
    avoid[a]?.add(b);
    avoid[b]?.add(a);
  }
  for (const [a, b] of options.strict) {
    never[a]?.add(b);
    never[b]?.add(a);
  }
  const bySize = values.map((_, i) => i).sort((a, b) => (values[b]?.bytes ?? 0) - (values[a]?.bytes ?? 0) || a - b);
  const spots: (Spot | undefined)[] = values.map(() => undefined);
  const inArena: number[][] = Array.from({ length: arenas }, () => []);
  const bytes = new Array<number>(arenas).fill(0);
  for (const i of bySize) {
    const value = values[i];
    if (value === undefined) continue;
    let chosen: { readonly arena: number; readonly offset: number; readonly cost: number } | undefined;
    for (let arena = 0; arena < arenas; arena++) {
      const mates = inArena[arena] ?? [];
      if (mates.some((j) => never[i]?.has(j))) continue;
      const offset = lowestGap(value, mates, values, spots, options.alignment);
      const end = offset + align(value.bytes, options.alignment);
      if (end > options.maxArenaBytes) continue;
      const growth = Math.max(0, end - (bytes[arena] ?? 0));
      const conflicts = mates.some((j) => avoid[i]?.has(j)) ? 1 : 0;
      const cost = growth + conflicts * conflictCost * liveBound + arena;
      if (chosen === undefined || cost < chosen.cost) chosen = { arena, offset, cost };
    }
    if (chosen === undefined) return undefined;
    spots[i] = chosen;
    inArena[chosen.arena]?.push(i);
    bytes[chosen.arena] = Math.max(bytes[chosen.arena] ?? 0, chosen.offset + align(value.bytes, options.alignment));
  }
  return { spots: spots.map((s) => ({ arena: s?.arena ?? 0, offset: s?.offset ?? 0 })), arenaBytes: bytes, liveBound };
}

/** The lowest offset at which the value fits between those that live at the same time. */
function lowestGap(
  value: Lifetime,
  mates: readonly number[],
  values: readonly Lifetime[],
  spots: readonly (Spot | undefined)[],
  alignment: number,
): number {
  const taken = mates
    .filter((j) => {
      const other = values[j];
      return other !== undefined && other.from <= value.to && value.from <= other.to;
    })
    .map((j) => ({
      start: spots[j]?.offset ?? 0,
      end: (spots[j]?.offset ?? 0) + align(values[j]?.bytes ?? 0, alignment),
    }))
    .sort((a, b) => a.start - b.start);
  let offset = 0;
  for (const range of taken) {
    if (offset + align(value.bytes, alignment) <= range.start) break;
    offset = Math.max(offset, range.end);
  }
  return offset;
}
