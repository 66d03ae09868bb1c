// Invariants of kernels and plans, checked after every stage in tests: loads and stores in range by interval analysis, limits, disjoint
// live buffers, every result written before it is read.
import { OpabiniaError } from '../dsl/error.ts';
import type { Assembly } from './assembly/assemble.ts';
import { sharedBytes } from './kernel/kernel.ts';
import { wholeOf } from './kernel/storage.ts';
import { isOverNothing, symbolsOf, withSymbols } from './index/index-symbols.ts';
import type { Plan, PlanBinding, PlanDispatch } from './plan.ts';
import type { DeviceProfile } from './profile.ts';

/** Symbols at the ends of their ranges, all combinations. */
function corners(
  symbols: ReadonlyMap<string, { readonly least: number; readonly most: number }>,
): readonly ReadonlyMap<string, number>[] {
  let result: ReadonlyMap<string, number>[] = [new Map()];
  for (const [name, { least, most }] of symbols)
    result = result.flatMap((values) => [new Map(values).set(name, most), new Map(values).set(name, least)]);
  return result;
}

function broken(stage: string, what: string): never {
  throw new OpabiniaError(what, {
    op: `verify ${stage}`,
    advice: 'this is a bug of the compiler: please report it with the printed graph',
  });
}

export function verifyAssembly(assembly: Assembly, profile: DeviceProfile): void {
  const written = new Set([...assembly.sources.values()].flatMap((storage) => [storage, wholeOf(storage)]));
  for (const { kernel, label } of assembly.steps) {
    // An empty tensor is made by a kernel that never runs.
    const runs = kernel.grid.every((n) => n.most > 0);
    for (const { slot, at, width } of runs ? kernel.accesses : []) {
      for (const values of corners(symbolsOf(at, symbolsOf(slot.storage.elements)))) {
        const end = withSymbols(slot.storage.elements, values).most;
        const { least, most } = withSymbols(at, values);
        if (end > 0 && !isOverNothing(at, values) && (least < 0 || most + width > end))
          broken(
            'schedule',
            `${label}: ${slot.write ? 'store' : 'load'} at ${at.key}, which may reach ${least} … ${most + width - 1}, outside ${slot.storage.node.op.name} of ${end} elements`,
          );
      }
    }
    if (kernel.threads > profile.maxWorkgroupThreads)
      broken('schedule', `${label}: ${kernel.threads} threads in a workgroup, ${profile.maxWorkgroupThreads} allowed`);
    const bytes = sharedBytes(kernel.shared);
    if (bytes > profile.maxWorkgroupBytes)
      broken('schedule', `${label}: ${bytes} bytes of workgroup memory, ${profile.maxWorkgroupBytes} allowed`);
    if (kernel.grid.some((n) => n.most > profile.maxGrid))
      broken('schedule', `${label}: a grid of ${kernel.grid.map((n) => n.most).join('×')} workgroups`);
    const twice = kernel.slots
      .filter((s) => s.write)
      .find((s, i, all) => all.findIndex((o) => o.storage === s.storage) !== i);
    if (twice !== undefined) broken('schedule', `${label}: writes one tensor through two bindings`);
    for (const slot of kernel.slots)
      if (!slot.write && !written.has(slot.storage) && slot.storage.elements.most > 0)
        broken('schedule', `${label}: reads ${slot.storage.node.op.name} before it is written`);
    for (const { storage, write } of kernel.slots) if (write) written.add(storage).add(wholeOf(storage));
  }
}

export function verifyPlan(plan: Plan, profile: DeviceProfile): void {
  for (const dispatch of [...plan.load, ...plan.dispatches]) verifyBindings(plan, dispatch, profile);
  const written = new Set<number>();
  for (const dispatch of [...plan.load, ...plan.dispatches]) {
    const access = plan.kernels[dispatch.kernel]?.access ?? [];
    dispatch.bindings.forEach((b, i) => {
      if (access[i] === 'read_write') written.add(b.buffer);
    });
  }
  for (const output of plan.outputs) {
    const role = plan.buffers[output.buffer]?.role;
    if (role === 'output' && !written.has(output.buffer) && output.axes.every((axis) => axis.size !== 0))
      broken('plan', `the output '${output.name}' is never written`);
  }
}

function verifyBindings(plan: Plan, dispatch: PlanDispatch, profile: DeviceProfile): void {
  const access = plan.kernels[dispatch.kernel]?.access ?? [];
  const overlap = (a: PlanBinding, b: PlanBinding) =>
    a.buffer === b.buffer && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
  if (access.length !== dispatch.bindings.length)
    broken('plan', `${dispatch.label}: ${dispatch.bindings.length} buffers for ${access.length} bindings`);
  dispatch.bindings.forEach((binding, i) => {
    const buffer = plan.buffers[binding.buffer];
    if (buffer === undefined || binding.offset + binding.bytes > buffer.bytes)
      broken('plan', `${dispatch.label}: binding ${i} reaches beyond '${buffer?.name ?? '?'}'`);
    if (binding.offset % profile.offsetAlignment !== 0)
      broken('plan', `${dispatch.label}: binding ${i} at ${binding.offset} is not aligned`);
    dispatch.bindings.forEach((other, j) => {
      if (j <= i) return;
      if (binding.buffer === other.buffer && access[i] !== access[j])
        broken('plan', `${dispatch.label}: '${buffer.name}' is bound both to read and to write`);
      if (access[i] === 'read_write' && overlap(binding, other))
        broken('plan', `${dispatch.label}: two writable bindings overlap in '${buffer.name}'`);
    });
  });
}
