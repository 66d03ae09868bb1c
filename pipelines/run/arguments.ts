// What types say of the arguments of a call, for callers without types: JavaScript, a notebook, a promise that nobody awaited.
import { OpabiniaError } from '../../dsl/error.ts';

/** Throws `OpabiniaError` unless this is a graph, or where `orPlan` a plan. */
export function requireGraph(op: string, value: unknown, orPlan = false): void {
  if (isObject(value) && (value['outputs'] instanceof Map || (orPlan && Array.isArray(value['kernels'])))) return;
  throw new OpabiniaError(`the graph is ${said(value)}`, {
    op,
    advice: `give what trace returns${orPlan ? ', or compile' : ''}: ${op}(trace(params, (t) => …), …)`,
  });
}

/** Throws `OpabiniaError` unless this is a device. */
export function requireDevice(op: string, value: unknown): void {
  if (isObject(value) && isObject(value['facts'])) return;
  throw new OpabiniaError(`the device is ${said(value)}`, {
    op,
    advice:
      value instanceof Promise
        ? `await it: ${op}(graph, await openDevice(), params)`
        : `give one that openDevice opened: ${op}(graph, await openDevice(), params)`,
  });
}

/** Throws `OpabiniaError` unless parameters can be read from this, or there are none to be read. */
export function requireParams(op: string, value: unknown, count: number): void {
  if (count === 0 || (isObject(value) && typeof value['read'] === 'function')) return;
  throw new OpabiniaError(`the graph has ${count} parameter${count === 1 ? '' : 's'}, whose source is ${said(value)}`, {
    op,
    advice: 'give the source that the graph was traced with, such as randomParams(1) or openCheckpoint(…)',
  });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function said(value: unknown): string {
  if (value instanceof Promise) return 'a promise';
  if (typeof value === 'function') return 'a function';
  return isObject(value) ? 'another object' : String(value);
}
