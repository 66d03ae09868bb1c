// Four neighbours as a vector: the position within them is a variable of the index, which never reaches WGSL.
import { atomIndex, constantIndex, isMultiple, variable, type Index } from '../index/index-math.ts';
import { coefficient, substitute } from '../index/index-variables.ts';
import { address, type IndexMap, type Placement } from './storage.ts';

export const quadName = '@quad';
/** The position 0…3 within a vector; it never reaches WGSL. */
export const quad: Index = atomIndex(variable(quadName, 3));

/** True when a vector along the quad is a vector in memory. */
export function canStoreVector(placement: Placement, index: IndexMap): boolean {
  const flat = address(placement, index);
  return (
    coefficient(flat, quadName) === 1 && isMultiple(onLane(flat, 0), 4) && isMultiple(placement.storage.elements, 4)
  );
}

/** An index on one lane of its vector. */
export function onLane(index: Index, lane: number): Index {
  return substitute(index, quadName, constantIndex(lane));
}
