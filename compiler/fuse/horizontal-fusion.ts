// Reductions of one layer over rows of the same shape that do not depend on one another share a kernel: the norms of several encoders' features
// are one dispatch instead of one each.
import { printSize, type Axis } from '../../dsl/axis/axis.ts';
import { bytesOf } from '../cost.ts';
import type { BindingBudget } from './bindings.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import type { Group } from './group.ts';
import { layerOf } from '../match/layer.ts';

type Rows = Extract<Group, { template: 'rows' }>;

/** A computed value of more bytes is let go as soon as it can be, and does not wait for others of its kind. */
const mostBytes = 48 * 2 ** 20;

/**
 * Groups of equal depth cannot depend on one another, directly or through what is merged beside them: every way from one kernel to another goes
 * deeper. `alone`: states, what is written straight into one, and parts of a concatenation that are written where they belong. A kernel that reads or makes one of these waits for
 * more than it reads, so it is left as it is. `mostTensors`: what one such kernel reads and writes.
 */
export function fuseHorizontally(
  groups: readonly Group[],
  stored: ReadonlySet<Node>,
  alone: ReadonlySet<Node>,
  mostTensors: number,
  budget: BindingBudget,
): readonly Group[] {
  const maker = new Map<Node, Group>(
    groups.flatMap((group) => group.roots.map((root): [Node, Group] => [root, group])),
  );
  const reads = new Map(groups.map((group) => [group, readsOf(group, stored)]));
  const depths = new Map<Group, number>();
  const depthOf = (group: Group): number => {
    const known = depths.get(group);
    if (known !== undefined) return known;
    depths.set(group, 0);
    const below = [...(reads.get(group) ?? [])]
      .flatMap((node) => makersOf(node, maker, stored))
      .filter((other) => other !== group);
    const depth = 1 + Math.max(0, ...below.map(depthOf));
    depths.set(group, depth);
    return depth;
  };
  const open = new Map<string, { readonly groups: Rows[]; tensors: number }>();
  const together: (readonly Rows[])[] = [];
  for (const group of groups) {
    if (group.template !== 'rows') continue;
    const own = reads.get(group) ?? new Set();
    if ([...own, ...group.roots].some((node) => alone.has(node))) continue;
    if ([...own].some((node) => maker.has(node) && bytesOf(node.type) > mostBytes)) continue;
    const key = `${depthOf(group)} ${shapeOf(group)}`;
    const tensors = [...own, ...group.roots].reduce((sum, node) => sum + budget.of(node), 0);
    const last = open.get(key);
    if (last !== undefined && last.tensors + tensors <= mostTensors) {
      last.groups.push(group);
      last.tensors += tensors;
    } else {
      const next = { groups: [group], tensors };
      open.set(key, next);
      together.push(next.groups);
    }
  }
  const hosts = new Map<Group, Rows>(
    together.flatMap((rows): [Group, Rows][] =>
      rows[0] === undefined || rows.length === 1 ? [] : [[rows[0], merged(rows)]],
    ),
  );
  const guests = new Set<Group>(together.flatMap((rows) => rows.slice(1)));
  return groups.filter((group) => !guests.has(group)).map((group) => hosts.get(group) ?? group);
}

function merged(rows: readonly Rows[]): Rows {
  return {
    template: 'rows',
    reductions: rows.flatMap((row) => row.reductions),
    nodes: new Set(rows.flatMap((row) => [...row.nodes])),
    roots: rows.flatMap((row) => row.roots),
  };
}

/** Stored values that a group reads, through what it computes in place. */
function readsOf(group: Group, stored: ReadonlySet<Node>): ReadonlySet<Node> {
  const found = new Set<Node>();
  const seen = new Set<Node>();
  const visit = (node: Node): void => {
    for (const input of node.inputs) {
      if (seen.has(input) || group.nodes.has(input)) continue;
      seen.add(input);
      if (stored.has(input)) found.add(input);
      else visit(input);
    }
  };
  for (const node of group.nodes) visit(node);
  return found;
}

/** The kernels that make a stored value; a concatenation is made by those of its parts. */
function makersOf(node: Node, maker: ReadonlyMap<Node, Group>, stored: ReadonlySet<Node>): readonly Group[] {
  const own = maker.get(node);
  if (own !== undefined) return [own];
  return node.op.kind === 'join' ? node.inputs.flatMap((part) => makersThrough(part, maker, stored)) : [];
}

function makersThrough(node: Node, maker: ReadonlyMap<Node, Group>, stored: ReadonlySet<Node>): readonly Group[] {
  if (maker.has(node) || (stored.has(node) && node.op.kind === 'join')) return makersOf(node, maker, stored);
  return node.inputs.flatMap((input) => makersThrough(input, maker, stored));
}

/** Layer, rows and reduced axes, in order. */
function shapeOf({ reductions }: Rows): string {
  const [first] = reductions;
  const x = first?.inputs[0];
  const print = (axes: readonly Axis[]) => axes.map((axis) => `${axis.name}:${printSize(axis.size)}`).join(' ');
  return `${layerOf(first?.origin.path ?? '')} ${print(x?.type.axes ?? [])} ${x?.type.dtype ?? ''} ${reducedAxes(first).join()}`;
}
