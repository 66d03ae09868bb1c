// Whether a product is made by matrix units: the unit, or why not.
import type { Node } from '../../dsl/graph/graph.ts';
import { choicesOf, type DeviceProfile, type MatrixUnit } from '../profile.ts';
import { productOf } from './contract.ts';

/** Of a workgroup, in every tile. */
const leastSubgroups = 4;

/** The unit for half precision summed in single precision; undefined where there is none, or no number of lanes to count on. */
export function matrixUnitOf(operands: readonly Node[], profile: DeviceProfile): MatrixUnit | undefined {
  return noMatrixUnit(operands, profile) === undefined ? unitsOf(profile)[0] : undefined;
}

/**
 * Those with the longest sum first, and of these the smallest. On an H200 blocks of 16 × 8 multiply as fast as those of 16 × 16 in registers,
 * and a product of one design takes a third of the time by them (`docs/gpu.md`).
 */
function unitsOf({ matrices = [] }: DeviceProfile): readonly MatrixUnit[] {
  return matrices
    .filter(({ from, to, m, n, k }) => from === 'f16' && to === 'f32' && [m, n, k].every((size) => size % 8 === 0))
    .toSorted((a, b) => b.k - a.k || a.m * a.n - b.m * b.n);
}

/** Why a product of these operands, of whatever size, cannot be made by them. */
export function noMatrixUnit(operands: readonly Node[], profile: DeviceProfile): string | undefined {
  if ((profile.matrices ?? []).length === 0) return 'the device has none';
  if (!profile.f16 || unitsOf(profile).length === 0) return 'the device has none for f16 summed in f32';
  if (profile.subgroupSize === undefined) return 'its subgroups have no fixed number of lanes';
  if (leastSubgroups * profile.subgroupSize > profile.maxWorkgroupThreads)
    return 'its workgroups hold too few subgroups';
  const wide = operands.find((x) => x.type.dtype !== 'f16');
  if (wide !== undefined) return `an operand is ${wide.type.dtype}`;
  // Plans that promise a row the same bits beside any other rows have one template for all numbers of rows.
  if (!Number.isFinite(choicesOf(profile).splitProductRows)) return 'sums must not depend on the number of rows';
  return undefined;
}

/** What matrix units would take of a product's weights at once, however many rows it has: of one row and of many they lie alike. */
export function blockOf(
  contract: Node,
  profile: DeviceProfile,
): { readonly terms: number; readonly columns: number } | undefined {
  const unit = matrixUnitOf(contract.inputs, profile);
  return unit === undefined ? undefined : { terms: unit.k, columns: unit.n };
}

/** Why a contraction is not made by matrix units; undefined where it is. */
export function withoutMatrixUnits(contract: Node, profile: DeviceProfile): string | undefined {
  const unit = matrixUnitOf(contract.inputs, profile);
  if (unit === undefined) return noMatrixUnit(contract.inputs, profile);
  const { m, n, k } = productOf(contract);
  // Half a block of rows is worth it: the units are that much faster.
  return 2 * m.most > unit.m && n.most >= unit.n && k.most >= unit.k ? undefined : 'it is smaller than a block';
}
