// Two products of the same rows whose results meet in a map, as gate and up of a gated MLP: one kernel reads the rows once, makes both, and
// stores what the map makes of them.
import { sameAxes } from '../../dsl/axis/axes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { RowOperand } from '../match/row-statistics.ts';
import { leastBindings } from './bindings.ts';
import { computedInPlace, type Work } from './fusion.ts';
import type { Group } from './group.ts';

type Product = Extract<Group, { template: 'contract' }>;

/** The groups, of which a product that only another one waits for has gone into that one's kernel. */
export function productsTogether(
  groups: readonly Group[],
  rowOperand: (node: Node) => RowOperand | undefined,
  work: Work,
): readonly Group[] {
  const made = new Map<Group, Product | undefined>();
  for (const group of groups) {
    if (group.template !== 'contract') continue;
    const guest = guestOf(group, rowOperand, work);
    if (guest === undefined || made.has(guest)) continue;
    const both = together(group, guest, work);
    made.set(guest, undefined);
    made.set(group, both);
    for (const node of both.nodes) if (!work.inPlace.has(node)) work.owner.set(node, both);
    const inside = work.cuts.filter(({ from, to }) => guest.roots.includes(from) && both.nodes.has(to));
    for (const cut of inside) work.cuts.splice(work.cuts.indexOf(cut), 1);
  }
  return groups.flatMap((group) => (made.has(group) ? (made.get(group) ?? []) : [group]));
}

/** A product whose every result is read by the maps behind another one, and by nothing else. */
function guestOf(host: Product, rowOperand: (node: Node) => RowOperand | undefined, work: Work): Product | undefined {
  const rows = rowOperand(host.contract)?.rows;
  if (rows === undefined || host.beside !== undefined || host.leaves !== undefined || host.ranges !== undefined)
    return undefined;
  if (hasViews(host)) return undefined;
  for (const input of host.chain.flatMap((node) => node.inputs)) {
    const guest = work.owner.get(input);
    if (guest === undefined || guest === host || guest.template !== 'contract') continue;
    if (guest.beside !== undefined || guest.ranges !== undefined) continue;
    const isAlike =
      rowOperand(guest.contract)?.rows === rows &&
      sameAxes(guest.contract.type.axes, host.contract.type.axes) &&
      !hasViews(guest);
    const isOnlyFor = guest.roots.every(
      (root) => !work.kept.has(root) && (work.readers.get(root) ?? []).every((reader) => isIn(reader, host, guest)),
    );
    const { nodes, roots } = together(host, guest, work);
    if (isAlike && isOnlyFor && leastBindings(nodes, roots, work.budget) <= work.budget.most) return guest;
  }
  return undefined;
}

function isIn(node: Node, ...groups: readonly Group[]): boolean {
  return groups.some((group) => group.nodes.has(node));
}

function hasViews({ chain }: Product): boolean {
  return chain.some((node) => node.op.kind === 'view');
}

function together(host: Product, guest: Product, work: Work): Product {
  const nodes = new Set([...guest.nodes, ...host.nodes]);
  const operands = [guest.contract, host.contract].flatMap((node) => node.inputs);
  return {
    ...host,
    beside: [guest.contract],
    chain: [...guest.chain, ...host.chain].sort((a, b) => a.id - b.id),
    nodes: new Set([...nodes, ...computedInPlace(operands, work)]),
  };
}
