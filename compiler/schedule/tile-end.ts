// Where a tile of rows stops walking the keys: behind the last one that any of its rows sees.
import type { Axis } from '../../dsl/axis/axis.ts';
import { code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, multiply, remainder, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { Block } from '../kernel/kernel.ts';
import { seenKeys } from '../match/attention/mask-extent.ts';
import { count, indexVariable } from './frame.ts';

export interface RowTile {
  readonly batch: ReadonlyMap<string, Index>;
  readonly firstRow: Index;
  readonly tile: number;
  readonly keyCount: Index;
  /** Rows of one batch item, and so of all its tiles. */
  readonly m: Index;
}

/** Where the keys end for the row of the tile that sees farthest: the block of rows is the same for all lanes, and so is the end. */
export function tileEnd(
  body: Block,
  { attention }: Extract<Group, { template: 'attention' }>,
  { batch, firstRow, tile, keyCount, m }: RowTile,
): string {
  const { maskExtent, rows } = attention;
  if (maskExtent === undefined) return indexText(keyCount);
  const lastRow = m.most <= tile ? add(m, constantIndex(-1)) : clamp(add(firstRow, constantIndex(tile - 1)), m);
  const position = batch.get(maskExtent.axis.name) ?? farthest(body, rows, maskExtent.axis, firstRow, lastRow);
  const seen = position === undefined ? keyCount : seenKeys(maskExtent, position, keyCount);
  return seen.key === keyCount.key ? indexText(keyCount) : body.let('seen', code(indexText(seen), 'u32')).text;
}

/** The largest position along one of the row axes among the flat rows first … last. */
function farthest(body: Block, rows: readonly Axis[], axis: Axis, first: Index, last: Index): Index | undefined {
  const at = rows.findIndex(({ name }) => name === axis.name);
  if (at < 0) return undefined;
  const size = count([axis]);
  const inner = count(rows.slice(at + 1));
  // Along the outermost axis positions only grow. Along another they start again after each run of it, and a tile that reaches into
  // the next run holds the end of this one.
  if (at === 0) return divide(last, inner);
  const run = multiply(size, inner);
  const own = remainder(divide(last, inner), size);
  const [from, to] = [divide(first, run), divide(last, run)];
  if (from.key === to.key) return own;
  return indexVariable(
    body.let(
      'farthest',
      code(
        `select(${indexText(add(size, constantIndex(-1)))}, ${indexText(own)}, ${indexText(from)} == ${indexText(to)})`,
        'u32',
      ),
    ).text,
    size,
  );
}
