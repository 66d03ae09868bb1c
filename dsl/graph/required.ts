// What types say of the arguments of a call, for callers without types: JavaScript, a notebook, a promise that nobody awaited.
import { OpabiniaError } from '../error.ts';

/** Throws `OpabiniaError` unless this is a graph. `or`: what else the call takes, in words. */
export function requireGraph(op: string, value: unknown, or = ''): void {
  if (isObject(value) && value['outputs'] instanceof Map && Array.isArray(value['updates'])) return;
  throw new OpabiniaError(`the graph is ${said(value)}`, {
    op,
    advice: `give what trace returns${or}: ${op}(trace(params, (t) => …), …)`,
  });
}

/** Throws `OpabiniaError` unless this is a path: `what` says of what, `call` how it is to be called. */
export function requirePath(op: string, value: unknown, what: string, call: string): void {
  if (typeof value === 'string') return;
  throw new OpabiniaError(`${what} is ${said(value)}`, { op, advice: `give its path: ${call}` });
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** A wrong argument in words. */
export function said(value: unknown): string {
  if (value instanceof Promise) return 'a promise';
  if (typeof value === 'function') return 'a function';
  return isObject(value) ? 'another object' : typeof value === 'string' ? `'${value}'` : String(value);
}
