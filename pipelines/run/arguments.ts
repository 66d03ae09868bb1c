// What types say of the arguments of a call, for callers without types: JavaScript, a notebook, a promise that nobody awaited.
import type { Plan } from '../../compiler/plan.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { isObject, requireGraph, said } from '../../dsl/graph/required.ts';

/** Throws `OpabiniaError` unless this is a graph or, as far as is seen here, a plan. */
export function requireGraphOrPlan(op: string, value: unknown): void {
  if (!isPlan(value)) requireGraph(op, value, ', or compile');
}

/** Whether this is meant to be a plan: its fields are checked by who loads it. */
export function isPlan(value: unknown): value is Plan {
  return isObject(value) && !(value['outputs'] instanceof Map) && ['kernels', 'dispatches'].some((key) => key in value);
}

/** Throws `OpabiniaError` unless parameters can be read from this, or there are none to be read. */
export function requireParams(op: string, value: unknown, count: number): void {
  if (count === 0 || (isObject(value) && typeof value['read'] === 'function')) return;
  throw new OpabiniaError(`the graph has ${count} parameter${count === 1 ? '' : 's'}, whose source is ${said(value)}`, {
    op,
    advice: 'give the source that the graph was traced with, such as randomParams(1) or openCheckpoint(…)',
  });
}
