// Layers repeat: groups that are alike but for where their values lie get one kernel, written once. The signature of a group is all that its
// templates see: ops, attributes and types down to what is stored, and of that its place, by the order in which it is met.
import { printAxes, type Axis } from '../../dsl/axis/axis.ts';
import { textOf, type Node } from '../../dsl/graph/graph.ts';
import type { Group } from '../fuse/group.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { IndexMap, Placement, Storage } from '../kernel/storage.ts';
import { isFixed, isUnpacked } from '../rewrite/fixed.ts';
import type { Context } from '../schedule/frame.ts';
import { schedule, type Scheduled } from '../schedule/index.ts';

interface Known {
  readonly made: readonly Scheduled[];
  readonly storages: readonly Storage[];
}

/** Schedules groups of one plan. */
export class SameKernels {
  readonly #known = new Map<string, Known>();

  /** As `schedule`. */
  schedule(group: Group, context: Context): readonly Scheduled[] {
    // Attention, and what streams its weights, ask what stands beyond stored values too; sorts have rooms of their own.
    if (group.template === 'attention' || group.template === 'sort') return schedule(group, context);
    if (group.template === 'contract' && group.streams !== undefined) return schedule(group, context);
    const { text, storages } = new Signature(group, context);
    const known = this.#known.get(text);
    if (known !== undefined) {
      const now = new Map(known.storages.map((storage, i) => [storage, storages[i] ?? storage]));
      return known.made.map((one) => ({ ...one, kernel: onStorages(one.kernel, now) }));
    }
    const made = schedule(group, context);
    // A storage that the signature has not met is the template's own.
    const isWhole = made.every(({ kernel }) => kernel.slots.every(({ storage }) => storages.includes(storage)));
    if (isWhole) this.#known.set(text, { made, storages });
    return made;
  }
}

function onStorages(kernel: Kernel, storages: ReadonlyMap<Storage, Storage>): Kernel {
  const slots = kernel.slots.map((slot) => ({ ...slot, storage: storages.get(slot.storage) ?? slot.storage }));
  const byName = new Map(slots.map((slot) => [slot.name, slot]));
  return {
    ...kernel,
    slots,
    accesses: kernel.accesses.map((touch) => ({ ...touch, slot: byName.get(touch.slot.name) ?? touch.slot })),
  };
}

class Signature {
  readonly storages: Storage[] = [];
  readonly #lines: string[] = [];
  readonly #numbers = new Map<Node, number>();
  readonly #group: Group;
  readonly #context: Context;

  constructor(group: Group, context: Context) {
    this.#group = group;
    this.#context = context;
    const { template, roots, nodes } = group;
    const list = (of: readonly Node[]): string => of.map((node) => this.#node(node)).join();
    // Where a template sorts nodes by age, their order is theirs.
    this.#lines.push(`${template} ${list([...nodes].sort((a, b) => a.id - b.id))} > ${list(roots)}`);
    if (group.template === 'contract')
      this.#lines.push(
        `${this.#node(group.contract)} ${list(group.beside ?? [])} ${list(group.chain)} ${list(group.leaves === undefined ? [] : [group.leaves.of, ...group.leaves.results])} ${group.ranges?.half ?? ''} ${(group.ranges?.each ?? []).map(({ slice, path }) => list([slice, ...path])).join('; ')}`,
      );
    if (group.template === 'rows') this.#lines.push(list(group.reductions));
    if (group.template === 'region')
      this.#lines.push(list(group.region.parts.flatMap(({ scores, mean }) => [scores, mean])));
    if (group.template === 'scatter') this.#lines.push(`${this.#node(group.scatter)} ${list(group.chain)}`);
    for (const root of roots) this.#lines.push(`to ${this.#place(context.target(root))}`);
  }

  get text(): string {
    return this.#lines.join('\n');
  }

  /** The number of a node, which is described when it is first met. */
  #node(node: Node): number {
    const known = this.#numbers.get(node);
    if (known !== undefined) return known;
    const place = this.#group.nodes.has(node) ? undefined : this.#context.place(node);
    const what =
      place === undefined
        ? `${node.op.name} ${textOf(node.attrs)} ${node.inputs.map((input) => this.#node(input)).join()}`
        : `${this.#place(place)} ${kindOf(node)}`;
    const number = this.#numbers.size;
    this.#numbers.set(node, number);
    this.#lines.push(`${number} ${what} ${node.type.dtype} ${axesText(node.type.axes)}`);
    return number;
  }

  #place({ storage, starts, row }: Placement): string {
    const at = starts === undefined ? '' : startsText(starts);
    const along = row === undefined ? '' : `${row.axis} ${this.#node(row.position)}`;
    return `s${this.#storage(storage)} ${at} ${along}`;
  }

  #storage(storage: Storage): number {
    const known = this.storages.indexOf(storage);
    if (known >= 0) return known;
    const number = this.storages.push(storage) - 1;
    const within = storage.within === undefined ? '' : `in s${this.#storage(storage.within.storage)}`;
    this.#lines.push(`s${number} ${storage.dtype} ${axesText(storage.axes)} ${within}`);
    return number;
  }
}

/** What templates ask of a stored value besides its type: whether it is a weight. */
function kindOf(node: Node): string {
  const role = node.op.kind === 'source' ? node.op.role : node.op.kind;
  return `${role}${isFixed(node) ? ' fixed' : ''}${isUnpacked(node) ? ' unpacked' : ''}`;
}

const axesTexts = new WeakMap<readonly Axis[], string>();

function axesText(axes: readonly Axis[]): string {
  const known = axesTexts.get(axes);
  if (known !== undefined) return known;
  const text = printAxes(axes);
  axesTexts.set(axes, text);
  return text;
}

function startsText(starts: IndexMap): string {
  return [...starts].map(([name, index]) => `${name}=${index.key}`).join(' ');
}
