// The scalar functions, one row each: reference semantics, lowering, gradient, accuracy. A row is all that a new one needs.
import type { MapOp } from '../../graph/op.ts';
import { arithmetic } from './arithmetic.ts';
import { again, cast } from './cast.ts';
import { choices } from './choice.ts';
import { comparisons } from './comparison.ts';
import { transcendental } from './transcendental.ts';

export const maps: readonly MapOp[] = [...arithmetic, ...transcendental, ...comparisons, ...choices, cast, again];

const byName = new Map(maps.map((op) => [op.name, op]));

/** The record of a scalar function by name. */
export function mapOp(name: string): MapOp {
  const op = byName.get(name);
  if (op === undefined) throw new TypeError(`no scalar function is called '${name}'`);
  return op;
}
