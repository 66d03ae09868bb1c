// Contraction for GPUs: a workgroup stages a tile of each operand in workgroup memory, every thread keeps a block of results in registers.
// Needs no subgroups; edges are clamped on the way in and guarded on the way out. Several products of the same rows stage these once, and
// a norm in front of them is made of the rows before the sum.
import { code, literal, splat, wgsl } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { add, clamp, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Kernel } from '../kernel/kernel.ts';
import { typeOf } from '../kernel/element-format.ts';
import { indexOf, inRange, productsOf, rangesText, storeProducts, type Product } from './contract.ts';
import { reduceTileRows, statisticsBytes } from './tile-statistics.ts';
import { productKey, tileCost, tileOf, type TileSpace } from './tiles.ts';
import { count, elementAt, Frame, indexVariable, namedAxes, type Context } from './frame.ts';

interface Tile {
  /** Threads along rows and columns. */
  readonly across: readonly [number, number];
  /** Results of one thread: rows (a multiple of 4), and vectors (or elements) of columns. */
  readonly rows: number;
  readonly vectors: number;
  /** Summed elements staged at once. */
  readonly depth: number;
}

type ProductGroup = Extract<Group, { template: 'contract' }>;

/** Rows and columns of a tile. */
function sidesOf({ across, rows, vectors }: Tile, { width }: Product): readonly [rows: number, columns: number] {
  return [across[0] * rows, across[1] * vectors * width];
}

/** Of workgroup memory: staged rows, staged columns of each product, and what rows are reduced to. */
function bytesOf(tile: Tile, group: ProductGroup): number {
  const products = productsOf(group);
  const [rows, columns] = sidesOf(tile, products[0]);
  const staged = 4 * tile.depth * (rows + products.length * columns);
  return staged + statisticsBytes(products[0], group, rows, tile.across[0] * tile.across[1]);
}

function usualTile(group: ProductGroup, profile: DeviceProfile): Tile {
  const [product, ...beside] = productsOf(group);
  const [m, n] = [product.m.most, product.n.most];
  const [one, two] = product.width === 4 ? [1, 2] : [2, 4];
  const small: Tile = { across: [16, 8], rows: 4, vectors: beside.length > 0 ? one : two, depth: 16 };
  const wanted = ((): Tile => {
    // Two products have twice the sums: half of the rows leave a thread as many registers.
    const large: Tile = { across: [16, 16], rows: beside.length > 0 ? 4 : 8, vectors: two, depth: 16 };
    const middle: Tile = { across: [16, 16], rows: 4, vectors: two, depth: 16 };
    const { productWorkgroups } = choicesOf(profile);
    const isBusy = (tile: Tile): boolean => {
      const [rows, columns] = sidesOf(tile, product);
      return Math.ceil(m / rows) * Math.ceil(n / columns) * count(product.batch).most >= productWorkgroups;
    };
    // All of as many threads: products that do not wait for one another can share a dispatch.
    if (m >= 128 && n >= 128)
      return [large, middle].find(isBusy) ?? { across: [16, 16], rows: 4, vectors: one, depth: 16 };
    if (m >= 32) return small;
    return { across: [4, 32], rows: 4, vectors: one, depth: 32 };
  })();
  const depth = [wanted.depth, 16, 8].find(
    (deep) => bytesOf({ ...wanted, depth: deep }, group) <= profile.maxWorkgroupBytes,
  );
  return { ...wanted, depth: depth ?? wanted.depth };
}

/** Workgroups of 64 to 256 threads; a thread has at most 64 sums. */
const shapes = [
  [4, 16],
  [4, 32],
  [8, 8],
  [8, 16],
  [16, 8],
  [16, 16],
] as const;

export function tilesInWorkgroup(group: ProductGroup, profile: DeviceProfile): TileSpace<Tile> {
  const [product, ...beside] = productsOf(group);
  const { m, n, width } = product;
  const fits = (tile: Tile): boolean => {
    const [rows, columns] = sidesOf(tile, product);
    return (
      tile.across[0] * tile.across[1] <= profile.maxWorkgroupThreads &&
      bytesOf(tile, group) <= profile.maxWorkgroupBytes &&
      Math.ceil(m.most / rows) <= profile.maxGrid &&
      Math.ceil(n.most / columns) <= profile.maxGrid
    );
  };
  return {
    key: productKey(`contraction in workgroup memory${beside.length > 0 ? ` of ${1 + beside.length}` : ''}`, product),
    usual: usualTile(group, profile),
    legal: shapes
      .flatMap((across) => [4, 8].map((rows) => ({ across, rows })))
      .flatMap((tile) => (width === 4 ? [1, 2] : [2, 4]).map((vectors) => ({ ...tile, vectors })))
      .flatMap((tile) => [8, 16, 32].map((depth): Tile => ({ ...tile, depth })))
      .filter(fits),
    nameOf: ({ across, rows, vectors, depth }) => `${across.join('×')} of ${rows}×${vectors}, ${depth} deep`,
    cost: (tile) => {
      const [rows, columns] = sidesOf(tile, product);
      // Rows come four at a time, columns by vectors; a barrier twice a step is some of what each step costs.
      const shape = { rows, columns, ownRows: tile.rows, ownColumns: tile.vectors * width };
      return tileCost(product, shape, profile) * (1 + 1 / tile.depth);
    },
  };
}

export function scheduleContractTile(group: ProductGroup, context: Context): Kernel {
  const products = productsOf(group);
  const [product] = products;
  const { a, m, n, k, names, width } = product;
  const tile = tileOf(tilesInWorkgroup(group, context.profile), context.profile);
  const [across, down] = [tile.across[1], tile.across[0]];
  const threads = across * down;
  const tileRows = down * tile.rows;
  const units = across * tile.vectors;
  const frame = new Frame(context, group);
  const { lowering, body } = frame;
  const type = typeOf('f32', width);
  const rowTiles = ceilDivide(m, tileRows);
  const columnTiles = ceilDivide(n, units * width);
  const batches = count(product.batch);
  const batch = namedAxes(body, body.index(names.batch, 'group.z', batches), product.batch);
  const stagedRows = frame.share('staged_rows', 'vec4f', tile.depth * (tileRows / 4));
  const stagedColumns = products.map(() => frame.share('staged_columns', type, tile.depth * units));
  const thread = indexVariable('thread', constantIndex(threads));
  const threadColumn = body.named('thread_column', remainder(thread, constantIndex(across)));
  const threadRow = body.named('thread_row', divide(thread, constantIndex(across)));
  const firstRow = scale(indexVariable('group.x', rowTiles), tileRows);
  const firstUnit = scale(indexVariable('group.y', columnTiles), units);
  const columnOf = (unit: Index): Index => elementAt(unit, width);
  const inBlock = `${names.sum}_in_block`;
  const ofRow = reduceTileRows(frame, group, { product, batch, firstRow, tileRows, threads });
  const sums = products.map(() =>
    Array.from({ length: tile.rows }, () =>
      Array.from({ length: tile.vectors }, () => body.var('sum', splat(literal(0, 'f32'), type))),
    ),
  );

  body.loop(
    `${names.sum}_start`,
    k,
    (outer, start) => {
      outer.loop(
        'staged',
        constantIndex(tile.depth * (tileRows / 4)),
        (inside, staged) => {
          const within = inside.named(inBlock, remainder(staged, constantIndex(tile.depth)));
          const fourRows = inside.named('four_rows', divide(staged, constantIndex(tile.depth)));
          const at = clamp(add(start, within), k);
          const four = [0, 1, 2, 3].map((j) => {
            const row = add(scale(fourRows, 4), constantIndex(j));
            ofRow(row);
            return lowering.value(inside, a, indexOf(product, batch, clamp(add(firstRow, row), m), undefined, at), 1);
          });
          const value = code(
            `vec4f(${four.map((x) => x.text).join(', ')})`,
            'vec4f',
            four.flatMap((x) => x.needs),
          );
          // Beyond the end of the sum both factors must be 0: the clamped load may hold an infinity.
          const inside4 = code(
            `select(vec4f(0.0f), ${value.text}, ${indexText(add(start, within))} < ${indexText(k)})`,
            'vec4f',
            value.needs,
          );
          inside.assign(`${stagedRows}[${indexText(add(scale(within, tileRows / 4), fourRows))}]`, inside4);
        },
        { from: thread, step: threads },
      );
      outer.loop(
        'staged',
        constantIndex(tile.depth * units),
        (inside, staged) => {
          const within = inside.named(inBlock, divide(staged, constantIndex(units)));
          const unit = inside.named('column_in_tile', remainder(staged, constantIndex(units)));
          const column = inRange(columnOf(add(firstUnit, unit)), n, width);
          const zero = splat(literal(0, 'f32'), type);
          products.forEach((own, p) => {
            const index = indexOf(own, batch, constantIndex(0), column, clamp(add(start, within), k));
            const value = splat(lowering.value(inside, own.b, index, width), type);
            inside.assign(
              `${stagedColumns[p] ?? ''}[${indexText(staged)}]`,
              code(
                `select(${zero.text}, ${value.text}, ${indexText(add(start, within))} < ${indexText(k)})`,
                type,
                value.needs,
              ),
            );
          });
        },
        { from: thread, step: threads },
      );
      outer.barrier();
      outer.loop(inBlock, constantIndex(tile.depth), (inside, within) => {
        const rows = Array.from({ length: tile.rows / 4 }, (_, i) =>
          inside.let(
            'of_rows',
            code(
              `${stagedRows}[${indexText(add(scale(within, tileRows / 4), scale(threadRow, tile.rows / 4), constantIndex(i)))}]`,
              'vec4f',
            ),
          ),
        );
        sums.forEach((acc, p) => {
          const columns = Array.from({ length: tile.vectors }, (_, v) =>
            inside.let(
              'of_columns',
              code(
                `${stagedColumns[p] ?? ''}[${indexText(add(scale(within, units), constantIndex(v * across), threadColumn))}]`,
                type,
              ),
            ),
          );
          acc.forEach((row, i) =>
            row.forEach((c, v) => {
              const factor = splat(code(`${rows[i >> 2]?.text ?? ''}.${'xyzw'[i & 3] ?? 'x'}`, 'f32'), type);
              inside.assign(c.text, wgsl`fma(${factor}, ${columns[v] ?? c}, ${c})`);
            }),
          );
        });
      });
      outer.barrier();
    },
    { step: tile.depth },
  );

  const [main = [], ...others] = sums;
  main.forEach((row, i) => {
    const at = body.index(names.row, indexText(add(firstRow, scale(threadRow, tile.rows), constantIndex(i))), m);
    body.when(
      m.terms.length === 0 && m.constant % tileRows === 0 ? 'true' : `${indexText(at)} < ${indexText(m)}`,
      (guarded) => {
        row.forEach((c, v) => {
          const end = divide(n, constantIndex(width));
          const unit = guarded.index(
            names.column,
            indexText(add(firstUnit, constantIndex(v * across), threadColumn)),
            end,
          );
          guarded.when(
            n.terms.length === 0 && n.constant % (units * width) === 0
              ? 'true'
              : `${indexText(unit)} < ${indexText(end)}`,
            (store) => {
              const values = [c, ...others.flatMap((other) => other[i]?.[v] ?? [])];
              storeProducts(frame, store, group, { batch, row: at, unit }, values);
            },
          );
        });
      },
    );
  });
  return frame.finish(`contraction ${tileRows}×${units * width} in workgroup memory${rangesText(group)}`, threads, [
    rowTiles,
    columnTiles,
    batches,
  ]);
}
