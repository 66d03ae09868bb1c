// Products by matrix units, of many designs: a few dozen to know a device by, and a sweep that takes minutes.
import type { MatrixUnit } from '../../compiler/profile.ts';
import type { Gpu } from './gpu.ts';
import {
  describe,
  evenSize,
  misfitOf,
  placeOf,
  productDesign,
  type ProductDesign,
  type ProductSize,
} from './product-design.ts';
import { productWgsl } from './product-wgsl.ts';
import { lacksMatrices, measureDesigns, sumDeviation, type Design, type Row, type Section } from './section.ts';

/** A tile, the subgroups that make it, and what else is not usual. */
type Choice = readonly [
  tile: ProductDesign['tile'],
  subgroups: ProductDesign['subgroups'],
  more?: Partial<ProductDesign>,
];

const two = { copies: 2 } as const;
const pieces = { schedule: 'staggered, piece by piece', copies: 2 } as const;
const byRows = { rightLine: 'row' } as const;
const rightStraight = { schedule: 'in turn', right: 'lines' } as const;
const allStraight = { schedule: 'unstaged', left: 'lines', right: 'lines' } as const;

const few: readonly Choice[] = [
  [[128, 128, 32], [2, 2], { ...pieces, fetchBytes: 8 }],
  [[128, 128, 32], [2, 2], pieces],
  [[128, 128, 16], [2, 2], pieces],
  [
    [128, 128, 32],
    [2, 2],
  ],
  [[128, 128, 32], [2, 2], two],
  [[128, 128, 32], [2, 2], { ...two, padding: 0 }],
  [[128, 128, 32], [2, 2], { ...two, padding: 16 }],
  [[128, 128, 32], [2, 2], { ...two, ...byRows }],
  [[128, 128, 32], [2, 2], { ...two, fetchBytes: 8 }],
  [[128, 128, 32], [2, 2], { ...two, isRolled: true }],
  [
    [128, 128, 64],
    [2, 2],
  ],
  [[128, 128, 16], [2, 2], two],
  [[128, 128, 32], [2, 4], two],
  [[128, 128, 32], [4, 2], two],
  [[128, 128, 32], [4, 4], two],
  [
    [128, 128, 64],
    [2, 4],
  ],
  [
    [128, 256, 32],
    [2, 4],
  ],
  [
    [256, 128, 32],
    [4, 2],
  ],
  [[128, 256, 16], [2, 4], two],
  [[128, 256, 32], [2, 4], byRows],
  [[256, 128, 16], [4, 2], two],
  [
    [256, 256, 32],
    [4, 4],
  ],
  [[256, 256, 16], [4, 4], { ...two, padding: 0 }],
  [
    [256, 128, 32],
    [4, 4],
  ],
  [
    [128, 256, 32],
    [4, 4],
  ],
  [
    [256, 128, 32],
    [2, 2],
  ],
  [[64, 128, 32], [1, 2], two],
  [[64, 128, 32], [2, 2], two],
  [[64, 64, 32], [2, 2], two],
  [[64, 64, 64], [2, 2], two],
  [[128, 128, 16], [2, 2], allStraight],
  [[128, 128, 16], [2, 2], { ...allStraight, ...byRows }],
  [[128, 128, 32], [2, 2], rightStraight],
  [[128, 128, 32], [2, 2], { ...rightStraight, ...byRows }],
  [[128, 64, 32], [2, 2], rightStraight],
];

/** Rows and columns of tiles, and their subgroups, each tried with 16, 32 and 64 terms. */
const tiles: readonly (readonly [rows: number, columns: number, down: number, across: number])[] = [
  [128, 128, 2, 2],
  [128, 128, 2, 4],
  [128, 128, 4, 2],
  [128, 128, 4, 4],
  [128, 256, 2, 4],
  [256, 128, 4, 2],
  [128, 256, 4, 4],
  [256, 128, 4, 4],
  [64, 128, 2, 2],
  [128, 64, 2, 2],
  [64, 64, 2, 2],
  [64, 256, 1, 4],
  [256, 64, 4, 1],
  [64, 128, 1, 2],
  [128, 64, 2, 1],
  [192, 128, 3, 2],
  [128, 96, 2, 1],
  [256, 256, 4, 4],
  [96, 128, 2, 2],
];

/** Those that everything else is tried on. */
const bases: readonly Choice[] = [
  [
    [128, 128, 32],
    [2, 2],
  ],
  [
    [128, 128, 32],
    [2, 4],
  ],
  [
    [64, 64, 32],
    [2, 2],
  ],
  [
    [128, 256, 32],
    [2, 4],
  ],
];

const schedules: readonly Partial<ProductDesign>[] = [
  { schedule: 'stored late' },
  { schedule: 'stored late', copies: 2 },
  { schedule: 'in turn' },
  { schedule: 'staggered', copies: 2 },
];

const rolled = { isRolled: true } as const;
const ahead = { fragments: 'one step ahead' } as const;
const byColumn = { fragments: 'one column at a time' } as const;

const variants: readonly Partial<ProductDesign>[] = [
  rolled,
  ahead,
  byColumn,
  { ...byColumn, ...rolled },
  { padding: 0 },
  { padding: 16 },
  { padding: 4, fetchBytes: 8 },
  { fetchBytes: 8 },
  byRows,
  { ...byRows, ...rolled },
  { member: 'f16' },
  { member: 'vec2<f16>' },
  { band: 4 },
  { band: 8 },
];

const allFragments = { schedule: 'unstaged', left: 'fragments', right: 'fragments' } as const;
const rightFragments = { right: 'fragments' } as const;

/** Operands stored fragment by fragment, as weights could be once and for all. */
const arranged: readonly Partial<ProductDesign>[] = [
  allFragments,
  { ...allFragments, ...ahead },
  { ...allFragments, band: 8 },
  rightFragments,
  { ...rightFragments, copies: 2 },
  { ...rightFragments, schedule: 'stored late', copies: 2 },
  { ...rightFragments, ...ahead },
];

function sweep(unit: MatrixUnit, others: readonly MatrixUnit[]): readonly ProductDesign[] {
  const plain = tiles.flatMap(([rows, columns, down, across]) =>
    [16, 32, 64].flatMap((terms) =>
      ([1, 2] as const).map((copies) => productDesign([rows, columns, terms], [down, across], unit, { copies })),
    ),
  );
  const varied = bases.flatMap(([tile, subgroups]) => {
    const [rows, columns] = tile;
    // Two copies of a larger tile are more than workgroup memory.
    const copies = rows * columns <= 128 * 128 ? ([1, 2] as const) : ([1] as const);
    const withUnits = others.flatMap((other) => [{}, rolled, byColumn].map((more) => ({ ...more, unit: other })));
    return [
      ...schedules.map((more) => productDesign(tile, subgroups, unit, more)),
      ...[...variants, ...withUnits].flatMap((more) =>
        copies.map((count) => productDesign(tile, subgroups, unit, { ...more, copies: count })),
      ),
      ...arranged.map((more) => productDesign(tile, subgroups, unit, more)),
      ...others.map((other) => productDesign(tile, subgroups, other, allFragments)),
      productDesign([rows, columns, 16], subgroups, unit, allFragments),
    ];
  });
  return [...plain, ...varied];
}

/** Drivers on a CPU take minutes to compile a large tile: every design as a small one, each once. */
function shrunk(designs: readonly ProductDesign[]): readonly ProductDesign[] {
  const small = designs.map((design): ProductDesign => ({ ...design, tile: [32, 32, 16], subgroups: [2, 2] }));
  return [...new Map(small.map((design) => [JSON.stringify(describe(design)), design])).values()];
}

const volume = ({ m, n, k }: MatrixUnit): number => m * n * k;

/** Of halves, summed in f32; the largest first. */
function unitsOf(gpu: Gpu): readonly MatrixUnit[] {
  return gpu.facts.matrices
    .filter(({ from, to }) => from === 'f16' && to === 'f32')
    .toSorted((a, b) => volume(b) - volume(a));
}

const lacksUnit = (gpu: Gpu): string | undefined =>
  lacksMatrices(gpu) ?? (unitsOf(gpu).length === 0 ? 'no matrix unit sums halves in f32' : undefined);

async function* measureProducts(gpu: Gpu, wanted: number, designs: readonly ProductDesign[]): AsyncGenerator<Row> {
  const bytes = 2 * wanted * wanted;
  // Not the same twice: the product would be symmetric, and hide that something is turned.
  const [left, right] = [await gpu.filled(bytes, 'halves', 1), await gpu.filled(bytes, 'halves', 2)];
  const result = gpu.buffer(4 * wanted * wanted);
  const values = {
    left: new Float16Array(await gpu.read(left, 0, bytes)),
    right: new Float16Array(await gpu.read(right, 0, bytes)),
  };
  const deviation = async (design: ProductDesign, size: ProductSize): Promise<number> => {
    let worst = 0;
    for (const row of [0, Math.floor(size.rows / 2) + 5, size.rows - 1]) {
      const got = new Float32Array(await gpu.read(result, 4 * row * size.columns, 4 * size.columns));
      for (const column of [0, 1, Math.floor(size.columns / 2) + 17, size.columns - 1]) {
        const term = (i: number): number =>
          (values.left[placeOf(design, size, 'left', row, i)] ?? NaN) *
          (values.right[placeOf(design, size, 'right', column, i)] ?? NaN);
        worst = Math.max(worst, sumDeviation(got[column] ?? NaN, size.terms, term));
      }
    }
    return worst;
  };
  const made = designs.map((design): Design => {
    const size = evenSize(design, wanted);
    return {
      about: describe(design),
      misfit: misfitOf(design, size, gpu.facts.limits, gpu.lanes),
      wgsl: () => productWgsl(design, size, gpu.lanes),
      buffers: [[left, right, result]],
      grid: [size.columns / design.tile[1], size.rows / design.tile[0]],
      result,
      deviation: () => deviation(design, size),
      time: async (work) => {
        const ms = await gpu.time(work, 5);
        return { ms, 'TFLOP/s': (2 * size.rows * size.columns * size.terms) / ms / 1e9 };
      },
    };
  });
  yield* measureDesigns(gpu, made);
}

const sizeOf = (quick: boolean): number => (quick ? 256 : 4096);

export const products: Section = {
  name: 'products',
  about: 'products of f16 by matrix units, of some designs',
  absent: lacksUnit,
  best: 'TFLOP/s',
  async *measure(gpu, quick) {
    const [unit, ...others] = unitsOf(gpu);
    if (unit === undefined) return;
    const designs = [
      ...few.map(([tile, subgroups, more]) => productDesign(tile, subgroups, unit, more)),
      ...others.map((other) => productDesign([128, 128, 32], [2, 2], other, two)),
    ];
    yield* measureProducts(gpu, sizeOf(quick), quick ? shrunk(designs) : designs);
  },
};

export const productDesigns: Section = {
  name: 'product-designs',
  about: 'products of f16 by matrix units, a large sweep of designs',
  isLong: true,
  absent: lacksUnit,
  best: 'TFLOP/s',
  async *measure(gpu, quick) {
    const units = unitsOf(gpu);
    // Not the largest: it leaves a subgroup's registers more ways to be used.
    const unit = units.find(({ m, n, k }) => m === 16 && n === 8 && k === 16) ?? units[0];
    if (unit === undefined) return;
    const designs = sweep(
      unit,
      units.filter((other) => other !== unit),
    );
    yield* measureProducts(gpu, sizeOf(quick), quick ? shrunk(designs) : designs);
  },
};
