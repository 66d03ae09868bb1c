// A design of a product by matrix units: C = A·B with operands in f16 and sums in f32, each workgroup a tile of results.
import type { MatrixUnit } from '../../compiler/profile.ts';
import type { DeviceLimits } from '../../runtime/device/device.ts';

/** rows × terms times terms × columns. */
export interface ProductSize {
  readonly rows: number;
  readonly columns: number;
  readonly terms: number;
}

/**
 * How blocks of operands come to workgroup memory, turn by turn:
 * - `unstaged`: they don't;
 * - `in turn`: fetched, stored, multiplied, and only other workgroups fill the waits;
 * - `fetched ahead`: the next blocks are fetched into registers before this turn's are multiplied, and stored when the next turn begins;
 * - `stored late`: the same, but stored at the end of the turn in which they were fetched;
 * - `staggered`: fetched and stored to one copy, then the other copy multiplied, which the last turn has stored;
 * - `staggered, piece by piece`: the same, with each load stored before the next is fetched.
 */
export type Schedule =
  | 'unstaged'
  | 'in turn'
  | 'fetched ahead'
  | 'stored late'
  | 'staggered'
  | 'staggered, piece by piece';

/** Where fragments are loaded from: `tiles` is workgroup memory; `lines` the operand as it lies; `fragments` the operand stored fragment by fragment. */
export type Source = 'tiles' | 'lines' | 'fragments';

export interface ProductDesign {
  /** Rows and columns of a workgroup's results, and terms of a turn. */
  readonly tile: readonly [rows: number, columns: number, terms: number];
  /** Subgroups of a workgroup, down and across its tile. */
  readonly subgroups: readonly [down: number, across: number];
  readonly unit: MatrixUnit;
  readonly schedule: Schedule;
  /** Of the tiles in workgroup memory; one barrier less a turn with two. */
  readonly copies: 1 | 2;
  readonly left: Source;
  readonly right: Source;
  /** What a line of the right operand in memory is: a column of it, as weights usually lie, or a row. */
  readonly rightLine: 'column' | 'row';
  /** Halves between two lines of a tile, which spread them over the banks of workgroup memory. */
  readonly padding: number;
  /** Bytes that a thread fetches at once. */
  readonly fetchBytes: 8 | 16;
  /** Elements of the arrays in workgroup memory. */
  readonly member: 'f16' | 'vec2<f16>' | 'vec4<f16>';
  /** The terms of a turn in a loop, or written out. */
  readonly isRolled: boolean;
  /** Fragments of a step loaded all at once, those of the next step before this one's are multiplied, or columns' one by one. */
  readonly fragments: 'together' | 'one step ahead' | 'one column at a time';
  /** Rows of tiles that workgroups walk together, column by column, so that they share what caches hold; 1: row by row. */
  readonly band: number;
}

/** A usual design, but for what is said otherwise. */
export function productDesign(
  tile: ProductDesign['tile'],
  subgroups: ProductDesign['subgroups'],
  unit: MatrixUnit,
  more: Partial<ProductDesign> = {},
): ProductDesign {
  return {
    tile,
    subgroups,
    unit,
    schedule: 'fetched ahead',
    copies: 1,
    left: 'tiles',
    right: 'tiles',
    rightLine: 'column',
    padding: 8,
    fetchBytes: 16,
    member: 'vec4<f16>',
    isRolled: false,
    fragments: 'together',
    band: 1,
    ...more,
  };
}

export const sides = ['left', 'right'] as const;
export type Side = (typeof sides)[number];

/** A block of an operand in workgroup memory. */
export interface Block {
  readonly lines: number;
  /** Halves of a line, and from one to the next. */
  readonly length: number;
  readonly stride: number;
  /** Loads of a thread for all of it. */
  readonly fetches: number;
}

/** Undefined where fragments come from elsewhere. */
export function blockOf(design: ProductDesign, side: Side, threads: number): Block | undefined {
  if (design[side] !== 'tiles') return undefined;
  const [rows, columns, terms] = design.tile;
  const [lines, length] =
    side === 'left' ? [rows, terms] : design.rightLine === 'column' ? [columns, terms] : [terms, columns];
  const halves = design.fetchBytes / 2;
  return { lines, length, stride: length + design.padding, fetches: (lines * length) / halves / threads };
}

export function threadsOf({ subgroups: [down, across] }: ProductDesign, lanes: number): number {
  return down * across * lanes;
}

/** Fragments of a subgroup, down and across. */
export function fragmentsOf({ tile, subgroups, unit }: ProductDesign): readonly [down: number, across: number] {
  return [tile[0] / subgroups[0] / unit.m, tile[1] / subgroups[1] / unit.n];
}

/** As near to the wanted size as whole tiles come. */
export function evenSize({ tile: [rows, columns] }: ProductDesign, wanted: number): ProductSize {
  return { rows: Math.floor(wanted / rows) * rows, columns: Math.floor(wanted / columns) * columns, terms: wanted };
}

/** Why a design cannot be. */
export function misfitOf(
  design: ProductDesign,
  size: ProductSize,
  limits: DeviceLimits,
  lanes: number,
): string | undefined {
  const threads = threadsOf(design, lanes);
  if (threads > limits.maxComputeInvocationsPerWorkgroup) return `${threads} threads are too many`;
  if (size.rows === 0 || size.columns === 0) return 'the tile is larger than the product';
  const blocks = sides.flatMap((side) => blockOf(design, side, threads) ?? []);
  const parts = [
    ...fragmentsOf(design),
    design.tile[2] / design.unit.k,
    size.terms / design.tile[2],
    size.rows / design.tile[0] / design.band,
    ...blocks.map(({ fetches }) => fetches),
  ];
  if (!parts.every(Number.isInteger)) return 'does not divide evenly';
  const bytes = 2 * design.copies * blocks.reduce((sum, { lines, stride }) => sum + lines * stride, 0);
  return bytes > limits.maxComputeWorkgroupStorageSize ? `${bytes} bytes of workgroup memory are too many` : undefined;
}

/** Cells that tell a design from others. */
export function describe(design: ProductDesign): Readonly<Record<string, string>> {
  const { tile, subgroups, unit, schedule, copies, left, right, rightLine, padding, fetchBytes, member } = design;
  const isStaged = left === 'tiles' || right === 'tiles';
  const said = [
    left === right ? (left === 'tiles' ? '' : `both from ${left}`) : `left from ${left}, right from ${right}`,
    rightLine === 'row' ? 'right by rows' : '',
    isStaged && padding !== 8 ? `padding ${padding}` : '',
    isStaged && fetchBytes !== 16 ? `${fetchBytes} bytes a fetch` : '',
    isStaged && member !== 'vec4<f16>' ? `tiles of ${member}` : '',
    design.isRolled ? 'rolled' : '',
    design.fragments === 'together' ? '' : `fragments ${design.fragments}`,
    design.band > 1 ? `bands of ${design.band}` : '',
  ];
  return {
    tile: tile.join('x'),
    subgroups: subgroups.join('x'),
    unit: `${unit.m}x${unit.n}x${unit.k}`,
    schedule: copies === 2 ? `${schedule}, two copies` : schedule,
    options: said.filter((part) => part !== '').join('; '),
  };
}

/** Where an element lies among the halves of its operand: of a row of the left, or a column of the right, the term of that number. */
export function placeOf(design: ProductDesign, size: ProductSize, side: Side, line: number, term: number): number {
  const { unit } = design;
  const high = side === 'left' ? unit.m : unit.n;
  if (design[side] === 'fragments') {
    const fragment = Math.floor(line / high) * (size.terms / unit.k) + Math.floor(term / unit.k);
    return fragment * high * unit.k + (line % high) * unit.k + (term % unit.k);
  }
  return side === 'right' && design.rightLine === 'row' ? term * size.columns + line : line * size.terms + term;
}
