// Mistakes of the plan: buffers that overlap, bindings, offsets, order, grids, work left out.
import type { Formula, Plan, PlanBinding, PlanDispatch } from '../../compiler/plan.ts';
import type { Mutant } from './mutants.ts';

const role = (plan: Plan, binding: PlanBinding | undefined) => plan.buffers[binding?.buffer ?? -1]?.role;
const written = (plan: Plan, dispatch: PlanDispatch): readonly PlanBinding[] =>
  dispatch.bindings.filter((_, i) => plan.kernels[dispatch.kernel]?.access[i] === 'read_write');
const read = (plan: Plan, dispatch: PlanDispatch): readonly PlanBinding[] =>
  dispatch.bindings.filter((_, i) => plan.kernels[dispatch.kernel]?.access[i] === 'read');
const same = (a: PlanBinding, b: PlanBinding): boolean => a.buffer === b.buffer && a.offset === b.offset;

const without = (plan: Plan, at: number): Plan => ({ ...plan, dispatches: plan.dispatches.filter((_, i) => i !== at) });

function moved(plan: Plan, from: number, to: number): Plan {
  const dispatches = [...plan.dispatches];
  const [one] = dispatches.splice(from, 1);
  if (one !== undefined) dispatches.splice(to, 0, one);
  return { ...plan, dispatches };
}

/** Writes of the states, and readers of a state before its write. */
function stateWrite(plan: Plan): { readonly at: number; readonly reader: number } | undefined {
  const at = plan.dispatches.findLastIndex((d) => written(plan, d).some((b) => role(plan, b) === 'state'));
  const target = written(
    plan,
    plan.dispatches[at] ?? { kernel: -1, bindings: [], grid: [0, 0, 0], path: '', label: '', flops: 0, bytes: 0 },
  ).find((b) => role(plan, b) === 'state');
  if (target === undefined) return undefined;
  return {
    at,
    reader: plan.dispatches.findIndex((d, i) => i < at && d.bindings.some((b) => b.buffer === target.buffer)),
  };
}

/** A value in an arena is put where a kernel writes another value before the first is read for the last time. */
function overlap(plan: Plan): Plan | undefined {
  const ranges: { readonly at: PlanBinding; readonly from: number; to: number }[] = [];
  plan.dispatches.forEach((dispatch, i) => {
    for (const binding of dispatch.bindings) {
      if (role(plan, binding) !== 'arena') continue;
      const known = ranges.find((range) => same(range.at, binding));
      if (known === undefined) ranges.push({ at: binding, from: i, to: i });
      else known.to = i;
    }
  });
  for (const x of ranges) {
    for (let at = x.from + 1; at < x.to; at++) {
      const writer = plan.dispatches[at];
      if (writer === undefined || writer.bindings.some((b) => b.buffer === x.at.buffer)) continue;
      const y = written(plan, writer).find((b) => role(plan, b) === 'output' || role(plan, b) === 'arena');
      // WebGPU itself would refuse a buffer that one kernel reads and writes.
      if (
        y === undefined ||
        plan.dispatches.some(
          (d) => d.bindings.some((b) => same(b, x.at)) && d.bindings.some((b) => b.buffer === y.buffer),
        )
      )
        continue;
      const dispatches = plan.dispatches.map((d) => ({
        ...d,
        bindings: d.bindings.map((b) => (same(b, x.at) ? { ...b, buffer: y.buffer, offset: y.offset } : b)),
      }));
      const buffers = plan.buffers.map((buffer, i) =>
        i === y.buffer ? { ...buffer, bytes: Math.max(buffer.bytes, y.offset + x.at.bytes) } : buffer,
      );
      return { ...plan, buffers, dispatches };
    }
  }
  return undefined;
}

function atLeast(plan: Plan, formula: Formula): Formula {
  if (typeof formula === 'number') return formula;
  if ('symbol' in formula) return plan.symbols.find(({ name }) => name === formula.symbol)?.least ?? formula;
  if ('sum' in formula) return { sum: formula.sum.map((part) => atLeast(plan, part)) };
  if ('product' in formula) return { product: formula.product.map((part) => atLeast(plan, part)) };
  return { ceil: atLeast(plan, formula.ceil), by: formula.by };
}

/** The first dispatch that the function changes. */
function first(plan: Plan, change: (dispatch: PlanDispatch) => PlanDispatch | undefined): Plan | undefined {
  for (const [at, dispatch] of plan.dispatches.entries()) {
    const changed = change(dispatch);
    if (changed !== undefined) return { ...plan, dispatches: plan.dispatches.map((d, i) => (i === at ? changed : d)) };
  }
  return undefined;
}

export const planMutants: readonly Mutant[] = [
  { name: 'stale slot', what: 'two live values lie in one place of an arena', plan: overlap },
  {
    name: 'reader before writer',
    what: 'a kernel runs before the one whose result it reads',
    plan: (plan) => {
      const at = plan.dispatches.findIndex(
        (d, i) =>
          i > 0 && read(plan, d).some((b) => written(plan, plan.dispatches[i - 1] ?? d).some((w) => same(w, b))),
      );
      return at < 1 ? undefined : moved(plan, at, at - 1);
    },
  },
  {
    name: 'missing update',
    what: 'the last write to a state is left out',
    plan: (plan) => {
      const found = stateWrite(plan);
      return found === undefined ? undefined : without(plan, found.at);
    },
  },
  {
    name: 'state read after its write',
    what: 'a state is overwritten before its reader runs',
    plan: (plan) => {
      const found = stateWrite(plan);
      return found === undefined || found.reader < 0 ? undefined : moved(plan, found.at, found.reader);
    },
  },
  {
    name: 'offset lost',
    what: 'a binding starts at the start of its buffer',
    plan: (plan) =>
      first(plan, (d) => {
        const at = d.bindings.findIndex(
          (b, i) => b.offset > 0 && !d.bindings.some((other, j) => j !== i && other.buffer === b.buffer),
        );
        return at < 0 ? undefined : { ...d, bindings: d.bindings.map((b, i) => (i === at ? { ...b, offset: 0 } : b)) };
      }),
  },
  {
    name: 'operands exchanged',
    what: 'two operands of a kernel are bound the wrong way round',
    plan: (plan) =>
      first(plan, (d) => {
        const access = plan.kernels[d.kernel]?.access ?? [];
        const reads = d.bindings
          .map((b, i) => ({ b, i }))
          .filter(({ b, i }) => access[i] === 'read' && role(plan, b) !== 'symbols');
        const [x, y] =
          reads
            .flatMap((one, i) =>
              reads
                .slice(i + 1)
                .filter((two) => two.b.bytes === one.b.bytes && !same(one.b, two.b))
                .map((two) => [one, two]),
            )
            .at(0) ?? [];
        if (x === undefined || y === undefined) return undefined;
        return { ...d, bindings: d.bindings.map((b, i) => (i === x.i ? y.b : i === y.i ? x.b : b)) };
      }),
  },
  {
    name: 'work of load time lost',
    what: 'one kernel does not run when the parameters are loaded',
    plan: (plan) => (plan.load.length === 0 ? undefined : { ...plan, load: plan.load.slice(0, -1) }),
  },
  {
    name: 'grid at the least size',
    what: 'the grid is computed for the smallest value of each symbol',
    plan: (plan) => {
      const dispatches = plan.dispatches.map((d) => ({
        ...d,
        grid: [atLeast(plan, d.grid[0]), atLeast(plan, d.grid[1]), atLeast(plan, d.grid[2])] as const,
      }));
      return plan.symbols.length === 0 ? undefined : { ...plan, dispatches };
    },
  },
  {
    name: 'grid one short',
    what: 'the last workgroup along x is not started',
    plan: (plan) =>
      first(plan, (d) => {
        const [x, y, z] = d.grid;
        return typeof x === 'number' && x > 1 ? { ...d, grid: [x - 1, y, z] } : undefined;
      }),
  },
];
