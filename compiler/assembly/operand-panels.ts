// Column operands that change from run to run (weights that learn, activations), copied into panels in front of a product of many rows. A
// software device walks such a product panel by panel, once for each tile of rows: rows of a wide matrix lie a page apart, and each costs a
// miss of the caches and of the page table, where panels are read from end to end. One copy pays for all tiles of rows; sums stay in their order.
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order } from '../../dsl/graph/walk.ts';
import { findAttention } from '../match/attention/attention.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { isFixed, isUnpacked } from '../rewrite/fixed.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';
import { count } from '../schedule/frame.ts';
import { productOf, type Product } from '../schedule/contract.ts';
import { fromPanels, inPanels, panelsOf } from './panels.ts';

/** Columns below which an operand is read from the caches as it lies. */
const fewestColumns = 64;
/** Terms of a sum below which the caches hold a panel wherever its rows lie, and below which nothing is copied. */
const longSum = 1024;
const shortSum = 64;

export interface PanelledGraph {
  readonly graph: Graph;
  /** The copies: views, which are stored. */
  readonly copies: ReadonlySet<Node>;
}

export function withOperandPanels(graph: Graph, builder: Builder, profile: DeviceProfile): PanelledGraph {
  const { panelRows } = choicesOf(profile);
  const copies = new Set<Node>();
  if (panelRows === Infinity) return { graph, copies };
  const nodes = order(graph);
  const inAttention = new Set(
    nodes.flatMap((node) => (node.op.kind === 'contract' ? [...(findAttention(node, () => false)?.nodes ?? [])] : [])),
  );
  const made = new Map<Node, Node>();
  for (const node of nodes) {
    const next = rebuilt(node, (input) => must(made, input), builder);
    made.set(node, node.op.kind === 'contract' && !inAttention.has(node) ? withPanels(next) : next);
  }
  return { graph: copies.size === 0 ? graph : mapGraph(graph, (node) => must(made, node)), copies };

  function withPanels(contract: Node): Node {
    const product = productOf(contract);
    const { b } = product;
    const panels = isWorthCopying(product, panelRows) ? panelsOf(product) : undefined;
    if (panels === undefined) return contract;
    const copy = inPanels(builder, b, panels);
    copies.add(copy);
    const seen = fromPanels(builder, copy, panels);
    const inputs = contract.inputs.map((input) => (input === b ? seen : input));
    return builder.make(contract.op, inputs, contract.attrs, contract.origin);
  }
}

function isWorthCopying({ b, batch, columns, m, n, k }: Product, panelRows: number): boolean {
  const last = b.type.axes.at(-1)?.name;
  // Columns that are not neighbours in memory are loaded one by one.
  const isAcross = columns.every(({ name }) => name !== last);
  return (
    !isFixed(b) &&
    !isUnpacked(b) &&
    count(batch).most === 1 &&
    m.most >= panelRows &&
    [n, k].every(({ terms }) => terms.length === 0) &&
    n.most >= fewestColumns &&
    k.most >= (isAcross ? shortSum : longSum)
  );
}
