// Every op record, by name.
import type { Op } from '../graph/op.ts';
import { contract } from './contract.ts';
import { reductions } from './reduce.ts';
import { gather } from './gather.ts';
import { concat } from './join.ts';
import { maps } from './map/index.ts';
import { scatter } from './scatter.ts';
import { sort } from './sort.ts';
import { sources } from './source.ts';
import { views } from './view.ts';

/** Every op record. */
export const ops: readonly Op[] = [
  ...sources,
  ...maps,
  ...reductions,
  ...views,
  concat,
  gather,
  scatter,
  sort,
  contract,
];

const byName = new Map<string, Op>(ops.map((op) => [op.name, op]));

/**
 * The record of an op; undefined for a name that no op has.
 * @example opByName('gather')?.doc
 */
export function opByName(name: string): Op | undefined {
  return byName.get(name);
}
