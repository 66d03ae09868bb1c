// What is computed where it is read brings its own operands into a kernel. Where they are more than the device binds, some of it is stored;
// a concatenation of too many operands is made in stages, each a kernel that writes its own range.
import type { Builder, Node } from '../../dsl/graph/graph.ts';
import { concat } from '../../dsl/ops/join.ts';
import { isUnpacked } from '../rewrite/fixed.ts';
import { isUnbound, leastBindings, operandsOf, underViews, type BindingBudget } from './bindings.ts';
import type { Work } from './fusion.ts';
import { tooManyBindings, type Group, type PlacedJoin } from './group.ts';

/** Nodes computed together, and what they store. */
type Reader = Pick<Group, 'nodes' | 'roots'>;

interface Fitting {
  readonly work: Work;
  readonly groups: Group[];
  readonly joins: PlacedJoin[];
  /** Nodes whose values are in memory; grows. */
  readonly stored: Set<Node>;
  /** The value that holds another: the concatenation of a part, the state of what is written straight into it. */
  readonly holder: Map<Node, Node>;
  readonly known: ReadonlySet<Node>;
  readonly builder: Builder;
}

/** Stores values until every kernel has buffers enough: nothing else changes. */
export function fitBindings(f: Fitting): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const join of [...f.stored]) if (stage(join, f)) changed = true;
    for (const reader of readers(f)) while (overBudget(reader, f) && storeOne(reader, f)) changed = true;
  }
}

/** Kernels of groups, and those that copy a section of a concatenation into its place. */
function readers({ groups, joins, stored }: Fitting): readonly Reader[] {
  const copies = joins.flatMap((join) =>
    join.sections.filter((section) => !join.parts.has(section) && !stored.has(section)),
  );
  return [...groups, ...copies.map((node) => ({ nodes: new Set([node]), roots: [node] }))];
}

function overBudget({ nodes, roots }: Reader, f: Fitting): boolean {
  return bindings(nodes, roots, f) > f.work.budget.most;
}

/** Bindings of a kernel as things stand: `extra` as if it were stored too. */
function bindings(nodes: ReadonlySet<Node>, roots: readonly Node[], f: Fitting, extra?: Node): number {
  const held = new Set([...reads(nodes, f, extra).stored, ...roots].map((node) => f.holder.get(node) ?? node));
  return [...held].reduce((sum, node) => sum + f.work.budget.of(node), 0);
}

/** Stored values that nodes read, through what is computed in place. */
function reads(
  nodes: ReadonlySet<Node>,
  f: Fitting,
  extra?: Node,
): { readonly stored: ReadonlySet<Node>; readonly inPlace: ReadonlySet<Node> } {
  const [stored, inPlace] = [new Set<Node>(), new Set<Node>()];
  const visit = (node: Node): void => {
    for (const input of node.inputs) {
      if (nodes.has(input) || inPlace.has(input) || isUnbound(input)) continue;
      if (f.stored.has(input) || input === extra) stored.add(input);
      else {
        inPlace.add(input);
        visit(input);
      }
    }
  };
  // A root that is stored already is copied: it is what the kernel reads.
  if (nodes.size === 0) return { stored, inPlace };
  for (const node of nodes) visit(node);
  return { stored, inPlace };
}

/**
 * Stores the value that frees most bindings of a kernel, of those whose own kernel is within the budget where there are any: a long sum
 * is made in few steps. Where none alone frees one, an operand. False when there is nothing left to store.
 */
function storeOne({ nodes, roots }: Reader, f: Fitting): boolean {
  const canStore = (node: Node): boolean =>
    node.op.kind !== 'view' &&
    node.op.kind !== 'source' &&
    !isUnpacked(node) &&
    !f.work.owner.has(node) &&
    !f.work.inPlace.has(node);
  const now = bindings(nodes, roots, f);
  const inPlace = [...reads(nodes, f).inPlace].filter(canStore);
  const [best] = inPlace
    .map((node) => ({
      node,
      freed: now - bindings(nodes, roots, f, node),
      fits: Number(bindings(new Set([node]), [node], f) <= f.work.budget.most),
    }))
    .filter(({ freed }) => freed > 0)
    .sort((a, b) => b.fits - a.fits || b.freed - a.freed || a.node.id - b.node.id);
  const operand = [...operandsOf(nodes, f.work.budget)].find((node) => inPlace.includes(node));
  const chosen = best?.node ?? operand;
  if (chosen === undefined) return false;
  const made: Group = { template: 'map', nodes: new Set([chosen]), roots: [chosen] };
  f.groups.push(made);
  f.work.owner.set(chosen, made);
  f.stored.add(chosen);
  for (const to of nodes)
    if (to.inputs.includes(chosen)) f.work.cuts.push({ from: chosen, to, reason: tooManyBindings });
  return true;
}

/** Places a concatenation that has too many operands for its kernel: neighbours that fit together are one section. */
function stage(join: Node, f: Fitting): boolean {
  const { work, groups, joins, holder } = f;
  if (join.op.kind !== 'join' || holder.has(join)) return false;
  if (leastBindings(new Set([join]), [join], work.budget) <= work.budget.most) return false;
  const own = groups.find((group) => group.roots.includes(join));
  if (own === undefined) return false;
  const sections: Node[] = [];
  const parts = new Set<Node>();
  for (const operands of sectionsOf(join, work.budget)) {
    const [only, ...more] = operands;
    const section = more.length === 0 ? only : f.builder.make(concat, operands, join.attrs, join.origin);
    if (section === undefined) continue;
    // Operands that stand elsewhere joined already are joined there: each is copied by itself.
    if (more.length > 0 && (f.known.has(section) || parts.has(section))) {
      sections.push(...operands);
      continue;
    }
    sections.push(section);
    if (more.length === 0) continue;
    const made: Group = { template: 'map', nodes: new Set([section]), roots: [section] };
    parts.add(section);
    groups.push(made);
    work.owner.set(section, made);
    f.stored.add(section);
    holder.set(section, join);
  }
  groups.splice(groups.indexOf(own), 1);
  work.owner.delete(join);
  joins.push({ join, parts, sections, ranges: new Map() });
  return true;
}

/** Runs of operands, each as long as the budget allows. */
function sectionsOf(join: Node, budget: BindingBudget): readonly (readonly Node[])[] {
  const sections: Node[][] = [];
  let bound = new Set<Node>();
  for (const operand of join.inputs) {
    const under = underViews(operand, budget);
    const needed = new Set(bound);
    if (!isUnbound(under)) needed.add(under);
    const last = sections.at(-1);
    const cost = [...needed, join].reduce((sum, node) => sum + budget.of(node), 0);
    if (last !== undefined && cost <= budget.most) {
      last.push(operand);
      bound = needed;
    } else {
      sections.push([operand]);
      bound = new Set([under]);
    }
  }
  return sections;
}
