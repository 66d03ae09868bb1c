// One value of all that the threads of a workgroup have, the same bits every time: by a tree in workgroup memory, or, where a subgroup's lanes
// are a number that is known, by shuffles within each and then of what subgroups have found, with one barrier instead of one for each halving.
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { code, type Code } from '../../dsl/wgsl.ts';
import type { Block } from '../kernel/kernel.ts';
import type { DeviceProfile } from '../profile.ts';
import { reduceLanes } from './frame.ts';

/** Lanes of a subgroup of a workgroup of so many threads, if neighbours of `least` lanes can exchange values; undefined where that goes through memory. */
export function lanesOf({ subgroupSize }: DeviceProfile, threads: number, least = 1): number | undefined {
  const isKnown = subgroupSize !== undefined && subgroupSize > 1 && subgroupSize >= least;
  return isKnown && threads % subgroupSize === 0 ? subgroupSize : undefined;
}

export interface Workgroup {
  readonly threads: number;
  readonly lanes: number | undefined;
  /** An element for each thread; free before, and read behind until the next barrier. */
  readonly memory: (place: string) => string;
  /** Where a thread writes; threads of a subgroup need not be neighbours in the workgroup. */
  readonly thread?: string;
}

/** Of several values at once, each with memory of its own. Every thread has the results. */
export function reduceThreads(
  block: Block,
  op: ReduceOp,
  values: readonly { readonly own: Code; readonly in: Workgroup }[],
): readonly Code[] {
  const [first] = values;
  if (first === undefined) return [];
  const { threads, lanes } = first.in;
  const at = ({ own, in: { memory } }: (typeof values)[number], place: string): Code =>
    code(memory(place), own.type, own.needs);
  if (lanes === undefined) {
    const { thread = 'thread' } = first.in;
    for (const value of values) block.assign(at(value, thread).text, value.own);
    block.barrier();
    for (let half = threads / 2; half >= 1; half /= 2) {
      block.when(`${thread} < ${half}u`, (inside) => {
        for (const value of values)
          inside.assign(at(value, thread).text, op.wgsl(at(value, thread), at(value, `${thread} + ${half}u`)));
      });
      block.barrier();
    }
    return values.map((value) => block.let('reduced', at(value, '0u')));
  }
  const subgroups = threads / lanes;
  const found = values.map((value) => ({ ...value, own: reduceLanes(block, op, value.own, lanes) }));
  if (subgroups === 1) return found.map(({ own }) => own);
  block.when('lane == 0u', (inside) => {
    for (const value of found) inside.assign(at(value, 'subgroup').text, value.own);
  });
  block.barrier();
  const apart = Math.min(lanes, subgroups);
  return found.map((value) => {
    const turns = Array.from({ length: subgroups / apart }, (_, turn) =>
      at(value, `lane % ${apart}u${turn === 0 ? '' : ` + ${turn * apart}u`}`),
    );
    const some = turns.reduce((all, one) => block.let('reduced', op.wgsl(all, one)));
    return reduceLanes(block, op, block.let('of_subgroup', some), apart);
  });
}
