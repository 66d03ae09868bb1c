// Contraction for devices bound by loads: one subgroup per tile, its lanes each load another element of the row operand and share it by
// shuffles, while vectors of the column operand stay in registers. Measured on lavapipe: two to four times any form without shuffles.
import { code, splat, wgsl, literal, type Code } from '../../dsl/wgsl.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from '../fuse/group.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { add, clamp, constantIndex, divide, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { ceilDivide, type Block, type Kernel } from '../kernel/kernel.ts';
import { unknownZero } from '../kernel/names.ts';
import { typeOf } from '../kernel/element-format.ts';
import { wordsUnder } from '../rewrite/fixed.ts';
import { indexOf, inRange, productOf, storeProducts, type Product } from './contract.ts';
import { productKey, tileCost, tileOf, type TileSpace } from './tiles.ts';
import { count, elementAt, Frame, indexVariable, namedAxes, type Context } from './frame.ts';

interface Tile {
  readonly rows: number;
  /** Vectors (or elements) of columns per lane. */
  readonly vectors: number;
}

/**
 * Small tiles compile fast; large ones load less. The compile time of a tile is paid once for all batches: below 16 MFLOP in all it is most
 * of what a product costs.
 */
function usualTile(product: Product): Tile {
  const m = product.m.most;
  const rows = m >= 64 && workOf(product) > 64e6 ? tallest(m) : m >= 5 ? 8 : m >= 2 ? 4 : 1;
  const lanes = product.width * 8;
  return { rows, vectors: product.n.most > lanes && !isQuick(product) ? 2 : 1 };
}

/** Of 16 and 20 rows those that take less time for all: a tile of 20 takes 51 where one of 16 takes 43, and the last may be mostly padding. */
function tallest(m: number): number {
  return Math.ceil(m / 20) * 51 < Math.ceil(m / 16) * 43 ? 20 : 16;
}

/** Rows loaded in a loop cost a tenth of a product's time: times the least work, until that is more than the driver's. */
const loopedWork = 64;

function workOf({ batch, m, n, k }: Product): number {
  return 2 * count(batch).most * m.most * n.most * k.most;
}

function isQuick(product: Product): boolean {
  return workOf(product) <= 16e6;
}

/** Rows that nobody needs are padding, and sums beyond 40 vectors cost more than they save. */
export function tilesBySubgroup(contract: Node, profile: DeviceProfile): TileSpace<Tile> {
  const lanes = profile.subgroupSize ?? 8;
  const product = productOf(contract);
  const { m, n, width } = product;
  const sides = ({ rows, vectors }: Tile) => [rows, lanes * vectors * width] as const;
  const fits = (tile: Tile): boolean => {
    const [rows, columns] = sides(tile);
    return Math.ceil(m.most / rows) <= profile.maxGrid && Math.ceil(n.most / columns) <= profile.maxGrid;
  };
  return {
    key: productKey('contraction by shuffles', product),
    usual: usualTile(product),
    legal: [1, 2, 4, 8, 16, 20]
      .filter((rows) => rows < 2 * m.most)
      .flatMap((rows) => [1, 2, 4].map((vectors): Tile => ({ rows, vectors })))
      .filter((tile) => tile.rows * tile.vectors <= 40 && fits(tile)),
    nameOf: ({ rows, vectors }) => `${rows}×${vectors}`,
    cost: (tile) => {
      const [rows, columns] = sides(tile);
      // A lane loads one element of each row for as many steps as there are lanes.
      const shape = { rows, columns, ownRows: tile.rows, ownColumns: tile.vectors * lanes };
      return tileCost(product, shape, profile);
    },
  };
}

/** Codes of a quantized column operand in a word, where a block of as many terms as there are lanes is several words; otherwise those lanes. */
function codesInWord(b: Node, k: Index, lanes: number): number {
  const words = k.terms.length === 0 ? wordsUnder(b) : undefined;
  // Where the last block of a row is filled up, there may be more words than terms.
  const codes = words === undefined || k.constant % words > 0 ? lanes : k.constant / words;
  return k.constant % lanes === 0 && lanes % codes === 0 ? codes : lanes;
}

export function scheduleContractSubgroup(group: Extract<Group, { template: 'contract' }>, context: Context): Kernel {
  const lanes = context.profile.subgroupSize ?? 8;
  const product = productOf(group.contract);
  const { a, b, m, n, k, names, width } = product;
  const tile = tileOf(tilesBySubgroup(group.contract, context.profile), context.profile);
  const frame = new Frame(context, group);
  const { lowering, body } = frame;
  const columnsPerTile = lanes * tile.vectors * width;
  const rowTiles = ceilDivide(m, tile.rows);
  const columnTiles = ceilDivide(n, columnsPerTile);
  const batches = count(product.batch);
  // Rows fastest: neighbouring workgroups read the same columns.
  const grid: Kernel['grid'] = [rowTiles, columnTiles, batches];
  const batch = namedAxes(body, body.index(names.batch, 'group.z', batches), product.batch);
  const firstRow = scale(indexVariable('group.x', rowTiles), tile.rows);
  const lane = indexVariable('lane', constantIndex(lanes));
  const column = (v: number): Index => {
    const unit = add(
      scale(indexVariable('group.y', columnTiles), lanes * tile.vectors),
      constantIndex(v * lanes),
      lane,
    );
    return elementAt(unit, width);
  };
  const safeColumn = (v: number): Index => inRange(column(v), n, width);
  const type = typeOf('f32', width);
  const acc = Array.from({ length: tile.rows }, () =>
    Array.from({ length: tile.vectors }, () => body.var('sum', splat(literal(0, 'f32'), type))),
  );
  const { leastWork } = choicesOf(context.profile);
  const isHurried = tile.rows > 1 && workOf(product) <= loopedWork * leastWork;
  const inLoop = isHurried ? body.array('of_rows', 'f32', tile.rows) : undefined;
  /** What a lane loads of each row: in a loop and through memory where the driver's time is what a product costs. */
  const loadRows = (block: Block, term: Index): readonly Code[] => {
    const load = (inside: Block, i: Index): Code =>
      lowering.value(inside, a, indexOf(product, batch, clamp(add(firstRow, i), m), undefined, term), 1);
    if (inLoop === undefined) return acc.map((_, i) => load(block, constantIndex(i)));
    block.loop(
      'row_in_tile',
      constantIndex(tile.rows),
      (inside, i) => inside.assign(`${inLoop}[${indexText(i)}]`, splat(load(inside, i), 'f32')),
      { endText: `${tile.rows}u + ${unknownZero}` },
    );
    return acc.map((_, i) => code(`${inLoop}[${i}]`, 'f32'));
  };

  const codes = codesInWord(b, k, lanes);
  // Counted in blocks: that a block begins at a multiple of the lanes tells what its terms have in common.
  body.loop(`${names.sum}_block`, ceilDivide(k, lanes), (outer, blockOfSum) => {
    const start = scale(blockOfSum, lanes);
    const mine = clamp(add(start, lane), k);
    const loads = loadRows(outer, mine);
    const term = (inside: Block, within: Index): void => {
      const at = clamp(add(start, within), k);
      const columns =
        acc[0]?.map((_, v) =>
          splat(lowering.value(inside, b, indexOf(product, batch, constantIndex(0), safeColumn(v), at), width), type),
        ) ?? [];
      acc.forEach((row, i) => {
        const own = loads[i];
        if (own === undefined) return;
        const shared = splat(
          inside.let('of_lane', code(`subgroupShuffle(${own.text}, ${indexText(within)})`, 'f32', own.needs)),
          type,
        );
        row.forEach((c, v) => inside.assign(c.text, wgsl`fma(${shared}, ${columns[v] ?? c}, ${c})`));
      });
    };
    // The bound must not be a constant, or the driver unrolls the loop and compiles for seconds.
    const endless = (turns: string): { readonly endText: string; readonly turns: true } => ({
      endText: `${turns} + ${unknownZero}`,
      turns: true,
    });
    if (codes < lanes) {
      // Some codes are a word: it is loaded in front of them.
      outer.loop(
        `${names.sum}_word`,
        constantIndex(lanes / codes),
        (words, word) =>
          words.loop(
            `${names.sum}_in_word`,
            constantIndex(codes),
            (inside, within) => term(inside, add(scale(word, codes), within)),
            endless(`${codes}u`),
          ),
        endless(`${lanes / codes}u`),
      );
      return;
    }
    const steps = outer.let(
      'steps',
      code(`min(${lanes}u, ${indexText(k)} - ${indexText(start)}) + ${unknownZero}`, 'u32'),
    );
    outer.loop(`${names.sum}_in_block`, constantIndex(lanes), term, { endText: steps.text, turns: true });
  });

  // The epilogue as a loop over a private array: unrolled, it would compile ten times as long.
  const kept = body.array('sums', type, tile.rows * tile.vectors);
  acc.forEach((row, i) => row.forEach((c, v) => body.assign(`${kept}[${i * tile.vectors + v}]`, c)));
  const rowsLeft = body.let(
    'rows_left',
    code(`min(${tile.rows}u, ${indexText(m)} - ${indexText(firstRow)}) + ${unknownZero}`, 'u32'),
  );
  const vectorsLeft = body.let(
    'vectors_left',
    code(
      `min(${tile.vectors}u, (${indexText(n)} - group.y * ${columnsPerTile}u + ${lanes * width - 1}u) / ${lanes * width}u) + ${unknownZero}`,
      'u32',
    ),
  );
  body.loop(
    'row_in_tile',
    constantIndex(tile.rows),
    (outer, i) => {
      const row = outer.index(names.row, indexText(add(firstRow, i)), m);
      outer.loop(
        'vector',
        constantIndex(tile.vectors),
        (inside, v) => {
          const units = divide(n, constantIndex(width));
          const unit = inside.index(
            names.column,
            indexText(add(scale(indexVariable('group.y', columnTiles), lanes * tile.vectors), scale(v, lanes), lane)),
            units,
          );
          const full = n.terms.length === 0 && n.constant % columnsPerTile === 0;
          inside.when(full ? 'true' : `${indexText(unit)} < ${indexText(units)}`, (store) => {
            const value = code(`${kept}[${indexText(add(scale(i, tile.vectors), v))}]`, type);
            storeProducts(frame, store, group, { batch, row, unit }, [store.let('total', value)]);
          });
        },
        { endText: vectorsLeft.text },
      );
    },
    { endText: rowsLeft.text },
  );
  return frame.finish(`contraction ${tile.rows}×${columnsPerTile} by shuffles`, lanes, grid, { subgroups: true });
}
