// From a graph to a program on a device, in one call.
import { compile } from '../../compiler/compile.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import { requireDevice, type Device } from '../../runtime/device/device.ts';
import type { LoadOptions } from '../../runtime/program/place.ts';
import { load as loadPlan, type Program } from '../../runtime/program/program.ts';
import type { ParameterValues } from '../../runtime/program/upload.ts';
import { isPlan, requireGraphOrPlan, requireParams } from './arguments.ts';

/**
 * Compiles a graph for this device and puts it there; a plan that was compiled before is only put there. Parameters are read from
 * `params`, which the graph was traced with. Throws `OpabiniaError`, `DeviceError`; when it fails nothing stays allocated.
 *
 * @example const { y } = await (await load(graph, await openDevice(), params)).run({ x: [1, 2, 3] });
 */
export async function load(
  graph: Graph | Plan,
  device: Device,
  params: ParameterValues,
  options: LoadOptions = {},
): Promise<Program> {
  requireGraphOrPlan('load', graph);
  requireDevice('load', device, 'load(graph, await openDevice(), params)');
  if (isPlan(graph)) await checkPlanFields(graph);
  const plan = isPlan(graph) ? graph : compile(graph, deviceProfile(device));
  requireParams('load', params, plan.parameters.length);
  return loadPlan(plan, device, params, options);
}

/** Where a plan is given, the fields that are read below are those of one. */
async function checkPlanFields(plan: Plan): Promise<void> {
  const { checkFields } = await import('../../runtime/program/plan-fields.ts');
  checkFields(plan);
}
