// Weights in the layout their kernel reads: panels of 64 columns, the summed axis inside a panel, so that four neighbouring columns are
// one load. The packing itself is views, stored once when the parameters are loaded.
import { bytesOf } from '../cost.ts';
import { roleOf, type Builder, type Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order } from '../../dsl/graph/walk.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { typeAttrs, nameOf } from '../../dsl/ops/source.ts';
import { isFixed } from '../rewrite/fixed.ts';
import { isWidening, loaded, type SplitGraph } from '../rewrite/load-time.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';
import { productOf } from '../schedule/contract.ts';
import { JoinedWeights } from './joined-weights.ts';
import { fromPanels, inPanels, panelsOf, type PanelBlock, type Panels } from './panels.ts';

interface PackOptions {
  readonly builder: Builder;
  /** True where a kernel reads panels. */
  readonly isTiled: (contract: Node) => boolean;
  /** What the device's matrix units take of a product's weights at once; undefined where it has none for it, however many rows it has. */
  readonly blockOf: (contract: Node) => PanelBlock | undefined;
  /** Bytes of a weight that is made anew while it is loaded. */
  readonly mostBytes: number;
  /** Rows of a product from which weights that another product reads the other way are packed for each: twice the bytes. */
  readonly panelRows: number;
}

export function packWeights(
  split: SplitGraph,
  { builder, isTiled, blockOf, mostBytes, panelRows }: PackOptions,
): SplitGraph {
  const outputs = new Map(split.load.outputs);
  const made = new Map<Node, Node>();
  const packed = new Map<Node, Map<string, Node>>();
  const joined = new JoinedWeights(builder);
  for (const node of order(split.main)) {
    const next = rebuilt(node, (input) => must(made, input), builder);
    made.set(node, next.op.kind === 'contract' && isTiled(next) ? withPackedWeights(next) : next);
  }
  const main = mapGraph(split.main, (node) => must(made, node));
  const read = new Set(
    order(main)
      .filter((n) => roleOf(n) === 'loaded')
      .map((n) => nameOf(n)),
  );
  const needed = new Map([...outputs].filter(([name]) => read.has(name)));
  return { load: { outputs: needed, updates: [] }, main };

  function withPackedWeights(contract: Node): Node {
    const product = productOf(contract);
    const { b } = product;
    // What is fixed has no symbols; two of them have no product.
    if (!isFixed(b)) return contract;
    // Where it takes so many bindings that no kernel could read and write it whole, it stays as it is.
    if (bytesOf((narrowed(b) ?? b).type) > mostBytes) return contract;
    const packing = panelsOf(product, blockOf(contract));
    if (packing === undefined) return contract;
    const key = JSON.stringify(packing);
    const views = packed.get(b) ?? new Map<string, Node>();
    packed.set(b, views);
    const [first] = product.m.most < panelRows ? views.values() : [];
    const inJoin = (): Node | undefined => (product.m.most < panelRows ? joined.of(b, fromParameters(b)) : undefined);
    let view = views.get(key) ?? first ?? inJoin();
    if (view === undefined) {
      const weights = fromParameters(b);
      view = packedView(weights, packing, contract);
      joined.add(weights, view);
    }
    views.set(key, view);
    const inputs = contract.inputs.map((input) => (input === b ? view : input));
    return builder.make(contract.op, inputs, contract.attrs, contract.origin);
  }

  /** Weights that are widened from 16 bits are packed as they are, and widened where they are read. */
  function packedView(weights: Node, packing: Panels, contract: Node): Node {
    const narrow = narrowed(weights);
    const view = fromPanels(builder, store(inPanels(builder, narrow ?? weights, packing), contract), packing);
    return narrow === undefined
      ? view
      : builder.make(mapOp('cast'), [view], { to: weights.type.dtype }, weights.origin);
  }

  /** The same weights without the cast that widens them; undefined when there is none, or arithmetic after it. */
  function narrowed(node: Node): Node | undefined {
    if (isWidening(node)) return node.inputs[0];
    if (node.op.kind !== 'view' && node.op.kind !== 'join') return undefined;
    const inputs = node.inputs.flatMap((input) => narrowed(input) ?? []);
    const same =
      inputs.length === node.inputs.length && inputs.every((input) => input.type.dtype === inputs[0]?.type.dtype);
    return same ? builder.remake(node, inputs) : undefined;
  }

  /** The weights in terms of the load graph: its own leaves are parameters. */
  function fromParameters(node: Node): Node {
    if (roleOf(node) === 'loaded') return must(split.load.outputs, nameOf(node));
    return rebuilt(node, fromParameters, builder);
  }

  function store(value: Node, contract: Node): Node {
    let name = `${contract.origin.path === '' ? contract.op.name : contract.origin.path}.panels`;
    for (let n = 2; outputs.has(name); n++) name = `${contract.origin.path}.panels.${n}`;
    outputs.set(name, value);
    return builder.make(loaded, [], { name, ...typeAttrs(value.type.axes, value.type.dtype) }, contract.origin);
  }
}
