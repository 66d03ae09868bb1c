// Whether a plan fits a device: every limit is checked on paper, before a byte is allocated.
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import type { Plan, PlanDispatch, PlanTensor } from '../../compiler/plan.ts';
import type { DeviceFacts } from '../device/device.ts';
import { OverLimitError, ValidationError } from '../device/failure.ts';
import { elementCount, evaluateFormula, type Symbols } from './formula.ts';
import { printBytes } from '../device/memory-budget.ts';

/** Throws `OverLimitError` where the plan needs more than the device offers, `ValidationError` where the plan contradicts itself. */
export function checkPlan(plan: Plan, facts: DeviceFacts): void {
  const recompile = 'compile the graph for the profile of this device: deviceProfile(device)';
  for (const buffer of plan.buffers) {
    if (buffer.bytes > facts.limits.maxBufferSize) {
      throw new OverLimitError(
        `buffer '${buffer.name}' takes ${printBytes(buffer.bytes)}, and a buffer of '${facts.name}' holds at most ${printBytes(facts.limits.maxBufferSize)}`,
        { op: 'load', advice: recompile },
      );
    }
  }
  const most: Symbols = new Map(plan.symbols.map((symbol) => [symbol.name, symbol.bound]));
  const least: Symbols = new Map(plan.symbols.map((symbol) => [symbol.name, symbol.least]));
  for (const tensor of [...plan.inputs, ...plan.outputs, ...plan.parameters, ...plan.states])
    checkTensor(plan, tensor, [least, most]);
  for (const dispatch of [...plan.load, ...plan.dispatches]) checkDispatch(plan, dispatch, facts, most, recompile);
}

/** At both ends of every symbol. */
function checkTensor(
  plan: Plan,
  { name, axes, dtype, buffer: index, offset }: PlanTensor,
  ends: readonly Symbols[],
): void {
  const refuse = (what: string): ValidationError => new ValidationError(`tensor '${name}' ${what}`, { op: 'load' });
  const buffer = plan.buffers[index];
  if (buffer === undefined) throw refuse(`names buffer ${index}, which the plan does not have`);
  for (const symbols of ends) {
    const sizes = axes.map((axis) => evaluateFormula(axis.size, symbols));
    const wrong = sizes.findIndex((size) => !Number.isSafeInteger(size) || size < 0);
    if (wrong >= 0) throw refuse(`has an axis '${axes[wrong]?.name}' of ${sizes[wrong]}`);
    const bytes = elementCount(axes, symbols) * dtypeBytes(dtype);
    if (offset + bytes > buffer.bytes)
      throw refuse(`ends at byte ${offset + bytes} of '${buffer.name}', which has ${buffer.bytes}`);
  }
}

function checkDispatch(plan: Plan, dispatch: PlanDispatch, facts: DeviceFacts, most: Symbols, advice: string): void {
  const kernel = plan.kernels[dispatch.kernel];
  if (kernel === undefined)
    throw new ValidationError(`a dispatch names kernel ${dispatch.kernel}, which the plan does not have`, {
      op: 'load',
      path: dispatch.path,
    });
  const where = { op: 'load', path: dispatch.path, advice };
  if (kernel.access.length !== dispatch.bindings.length)
    throw new ValidationError(
      `kernel '${kernel.name}' takes ${kernel.access.length} bindings, and its dispatch gives ${dispatch.bindings.length}`,
      where,
    );
  for (const binding of dispatch.bindings) {
    const buffer = plan.buffers[binding.buffer];
    if (buffer === undefined || binding.offset + binding.bytes > buffer.bytes) {
      throw new ValidationError(
        `kernel '${kernel.name}' binds bytes ${binding.offset} to ${binding.offset + binding.bytes} of '${buffer?.name ?? binding.buffer}', which has ${buffer?.bytes ?? 'no'} bytes`,
        where,
      );
    }
    if (binding.bytes > facts.limits.maxStorageBufferBindingSize) {
      throw new OverLimitError(
        `kernel '${kernel.name}' binds ${printBytes(binding.bytes)} of '${buffer.name}', and '${facts.name}' binds at most ${printBytes(facts.limits.maxStorageBufferBindingSize)} at once`,
        where,
      );
    }
    if (binding.offset % facts.limits.minStorageBufferOffsetAlignment !== 0) {
      throw new OverLimitError(
        `kernel '${kernel.name}' binds '${buffer.name}' at byte ${binding.offset}, and '${facts.name}' binds at multiples of ${facts.limits.minStorageBufferOffsetAlignment}`,
        where,
      );
    }
  }
  for (const size of dispatch.grid) {
    const workgroups = evaluateFormula(size, most);
    const limit = facts.limits.maxComputeWorkgroupsPerDimension;
    if (!(workgroups <= limit))
      throw new OverLimitError(
        `kernel '${kernel.name}' needs ${workgroups} workgroups along one side of its grid, and '${facts.name}' allows ${limit}`,
        where,
      );
  }
}

/** What to do when a plan does not fit into memory. */
export function shrinkAdvice(plan: Plan): string {
  const symbol = [...plan.symbols].sort((a, b) => b.bound - a.bound)[0];
  const smaller =
    symbol === undefined
      ? 'trace with smaller inputs'
      : `lower the bound of the symbol '${symbol.name}' (now ${symbol.bound})`;
  const narrow = plan.parameters.some((parameter) => parameter.dtype === 'f32')
    ? 'hold the parameters as f16'
    : 'load fewer programs at once';
  return `${narrow}, which halves ${printBytes(plan.memory.parameters)} of parameters, or ${smaller}: activations take ${printBytes(plan.memory.activations)}, states ${printBytes(plan.memory.states)}`.replace(
    'load fewer programs at once, which halves',
    'load fewer programs at once: this one has',
  );
}
