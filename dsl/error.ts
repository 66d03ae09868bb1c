// The one error class: what went wrong, in which op, at which model path and source line, and what to do about it.
import { editDistance } from './text/edit-distance.ts';

export interface Where {
  /** Name of the op or function that refused, e.g. `einsum`. */
  readonly op?: string | undefined;
  /** Path in the model, e.g. `vision_sampler_0.layers.1.cross_attn`. */
  readonly path?: string | undefined;
  /** The user's own file and line, e.g. `models/vit.ts:31`. */
  readonly place?: string | undefined;
  /** What to try. */
  readonly advice?: string | undefined;
  readonly cause?: unknown;
}

/** What is wrong, where, and what to do about it; the message has all of it. */
export class OpabiniaError extends Error {
  /** The first line of the message, without the op. */
  readonly what: string;
  readonly op: string | undefined;
  readonly path: string | undefined;
  readonly place: string | undefined;
  readonly advice: string | undefined;

  constructor(what: string, where: Where = {}) {
    super(messageOf(what, where), where.cause === undefined ? undefined : { cause: where.cause });
    this.name = 'OpabiniaError';
    this.what = what;
    this.op = where.op;
    this.path = where.path;
    this.place = where.place;
    this.advice = where.advice;
  }
}

function messageOf(what: string, where: Where): string {
  const lines = [where.op === undefined ? what : `${where.op}: ${what}`];
  if (where.path) lines.push(`  in  ${where.path}`);
  if (where.place) lines.push(`  at  ${where.place}`);
  if (where.advice) lines.push(`  try ${where.advice}`);
  return lines.join('\n');
}

/** Gives an error that was thrown without one its place: its message and its stack say it from now on. */
export function sayPlace(error: OpabiniaError, place: string): void {
  const { what, op, path, advice, message, stack = '' } = error;
  // An error with a message of its own making keeps it.
  if (message !== messageOf(what, { op, path, advice })) return;
  const placed = messageOf(what, { op, path, place, advice });
  Object.assign(error, { place, message: placed, stack: stack.replace(message, () => placed) });
}

/**
 * The `count` names nearest to `wanted` by edit distance, nearest first: for «did you mean».
 * @example nearestNames('sofmax', ['softmax', 'sigmoid'], 1)
 */
export function nearestNames(wanted: string, known: Iterable<string>, count = 3): readonly string[] {
  // What is no name, or no list of them, has nothing near it: an error is being made of it.
  if (typeof wanted !== 'string' || typeof Object(known)[Symbol.iterator] !== 'function') return [];
  // A name that begins the other is near, however long the rest is.
  const near = (name: string): number =>
    name !== '' && (name.startsWith(wanted) || wanted.startsWith(name)) ? 2 : Infinity;
  const scored = [...new Set(known)].map((name) => ({
    name,
    distance: Math.min(editDistance(wanted, name), near(name)),
  }));
  scored.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return scored.slice(0, count).map((entry) => entry.name);
}
