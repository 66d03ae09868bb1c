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

/** Throws `OpabiniaError` unless these are options, or whatever else `what` calls them; `call` shows some. */
export function requireOptions(op: string, value: unknown, call: string, what = 'the options'): void {
  if (isObject(value) && !(value instanceof Promise)) return;
  throw new OpabiniaError(`${what} ${what.endsWith('s') ? 'are' : 'is'} ${said(value)}`, {
    op,
    advice: `give ${what.endsWith('s') ? 'them' : 'it'}: ${call}`,
  });
}

/** As `requireOptions`, with fields that must be there, each of a kind as `typeof` says it. */
export function requireFields(
  op: string,
  value: unknown,
  fields: Readonly<Record<string, 'string' | 'number' | 'object' | 'function'>>,
  call: string,
  what = 'the options',
): void {
  requireOptions(op, value, call, what);
  for (const [name, kind] of Object.entries(fields)) {
    const given = isObject(value) ? value[name] : undefined;
    if (typeof given === kind && given !== null) continue;
    throw new OpabiniaError(`'${name}' of ${what} is ${said(given)}`, { op, advice: `give it: ${call}` });
  }
}

/** Throws `OpabiniaError` unless this is a list: `what` says of what. */
export function requireList(op: string, value: unknown, what: string, call: string): void {
  if (Array.isArray(value)) return;
  throw new OpabiniaError(`${what} are ${said(value)}`, { op, advice: `give a list: ${call}` });
}

/** Throws `OpabiniaError` unless this is text: `what` says which. */
export function requireText(op: string, value: unknown, what: string, call: string): void {
  if (typeof value === 'string') return;
  throw new OpabiniaError(`${what} is ${said(value)}`, { op, advice: `give text: ${call}` });
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** A wrong argument in words. */
export function said(value: unknown): string {
  if (value instanceof Promise) return 'a promise';
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'a list';
  return isObject(value) ? 'another object' : typeof value === 'string' ? `'${value}'` : String(value);
}
