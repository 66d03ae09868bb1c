// A contraction whose one operand is computed where it is summed and never stored: the gradient of an attention by its queries, keys or
// values, whose weights are as many as queries times keys. A thread holds one row of the result, walks what is summed, computes one weight
// at a time and adds it times a row of the other operand (Dao et al. 2022, FlashAttention, algorithm 4).
import { storeRoots } from './epilogue.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { code, literal, splat, wgsl } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import type { Axis } from '../../dsl/axis/axis.ts';
import { constantIndex, divide, type Index } from '../index/index-math.ts';
import { coefficient } from '../index/index-variables.ts';
import { indexText } from '../index/index-text.ts';
import type { Block, Kernel } from '../kernel/kernel.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { seenKeys } from '../match/attention/mask-extent.ts';
import { findWeightExtent, type WeightExtent } from '../match/weight-extent.ts';
import {
  count,
  elementAt,
  flatStem,
  Frame,
  isQuartered,
  namedAxes,
  takeApart,
  threadItems,
  walkAxes,
  type Context,
  type Walk,
} from './frame.ts';

const threads = 64;

export function scheduleStreamingProduct(group: Extract<Group, { template: 'contract' }>, context: Context): Kernel {
  const { contract, streams = 0 } = group;
  const [weights, other] = [contract.inputs[streams], contract.inputs[1 - streams]];
  if (weights === undefined || other === undefined) throw new TypeError('a contraction without operands');
  const { batch, rows, columns, sum } = roles(weights.type, other.type, contract.type);
  const frame = new Frame(context, group);
  const { lowering } = frame;
  const last = columns.at(-1);
  const width: Width = isQuartered(last) ? 4 : 1;
  const units = divide(count(columns), constantIndex(width));
  const type = typeOf('f32', width);
  const rowAxes = [...batch, ...rows];
  const place = (unit: Index): IndexMap => takeApart(elementAt(unit, width), columns);
  const column = flatStem(columns, width);
  const { grid, item, test } = threadItems(
    frame.body,
    flatStem(rowAxes),
    count(rowAxes),
    threads,
    context.profile.maxGrid,
  );

  frame.body.when(test, (body) => {
    const row = namedAxes(body, item, rowAxes);
    const result = body.array('result', type, units.most);
    const element = (d: Index) => code(`${result}[${indexText(d)}]`, type);
    body.loop(column, units, (inside, d) => inside.assign(element(d).text, splat(literal(0, 'f32'), type)));
    const extent = findWeightExtent(weights);
    walkAxes(
      body,
      sum,
      row,
      (inside, at) => {
        const weight = inside.let('weight', lowering.value(inside, weights, at, 1));
        inside.loop(column, units, (each, d) => {
          const value = splat(lowering.value(each, other, new Map([...at, ...place(d)]), width), type);
          each.assign(element(d).text, wgsl`fma(${splat(weight, type)}, ${value}, ${element(d)})`);
        });
      },
      (axis) => (extent === undefined ? {} : seenPart(body, axis, row, extent)),
    );
    body.loop(column, units, (inside, d) => {
      const value = inside.let('value', element(d));
      const index = new Map([...row, ...place(d)]);
      storeRoots(frame, inside, group, index, { anchor: contract, value, width, vector: last?.name });
    });
  });
  return frame.finish('streaming product, one row a thread', threads, grid);
}

/** The elements of a summed axis whose weights may be other than 0: the keys that a query of this row sees, or the queries that see its key. */
function seenPart(body: Block, axis: Axis, row: IndexMap, { key, axis: query, last }: WeightExtent): Walk {
  const other = row.get(axis.name === key ? query.name : key);
  if (other === undefined || last.least < 0) return {};
  if (axis.name === key) {
    const keys = count([axis]);
    const seen = seenKeys({ axis: query, last }, other, keys);
    return seen.key === keys.key ? {} : { end: body.let('seen', code(indexText(seen), 'u32')).text };
  }
  // Key t is seen from query t on.
  const isDiagonal = last.constant === 0 && last.terms.length === 1 && coefficient(last, query.name) === 1;
  return axis.name === query.name && isDiagonal ? { from: other } : {};
}
