// Weights in the layout their kernel reads: panels of 64 columns, the summed axis inside a panel, so that four neighbouring columns are
// one load. The packing itself is views, stored once when the parameters are loaded.
import { bytesOf } from '../cost.ts';
import type { Axis, Size } from '../../dsl/axis/axis.ts';
import { multiplySizes } from '../../dsl/axis/axis.ts';
import { roleOf, type Builder, type Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order } from '../../dsl/graph/walk.ts';
import type { Attrs } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { typeAttrs, nameOf } from '../../dsl/ops/source.ts';
import { pad, rearrange, slice } from '../../dsl/ops/view.ts';
import { isFixed } from '../rewrite/fixed.ts';
import { isWidening, loaded, type SplitGraph } from '../rewrite/load-time.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';
import { productOf, type Product } from '../schedule/contract.ts';

const panel = 64;

/** Fewer columns than this are not worth a layout of their own. */
const fewestColumns = 4;

interface PackOptions {
  readonly builder: Builder;
  /** True where a kernel reads panels. */
  readonly isTiled: (contract: Node) => boolean;
  /** Bytes of a weight that is made anew while it is loaded. */
  readonly mostBytes: number;
}

export function packWeights(split: SplitGraph, { builder, isTiled, mostBytes }: PackOptions): SplitGraph {
  const outputs = new Map(split.load.outputs);
  const made = new Map<Node, Node>();
  const packed = new Map<Node, Node>();
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
    const columns = product.columns.reduce<Size>((n, a) => multiplySizes(n, a.size), 1);
    if (typeof columns !== 'number' || columns < fewestColumns) return contract;
    // Where it takes so many bindings that no kernel could read and write it whole, it stays as it is.
    if (bytesOf((narrowed(b) ?? b).type) > mostBytes) return contract;
    const known = packed.get(b);
    const packing = packingOf(product, columns);
    const view = known ?? packedView(fromParameters(b), packing, contract);
    packed.set(b, view);
    const inputs = contract.inputs.map((input) => (input === b ? view : input));
    return builder.make(contract.op, inputs, contract.attrs, contract.origin);
  }

  /** Weights that are widened from 16 bits are packed as they are, and widened where they are read. */
  function packedView(weights: Node, packing: Packing, contract: Node): Node {
    const narrow = narrowed(weights);
    const view = unpack(store(pack(narrow ?? weights, packing), contract), packing);
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

  function pack(weights: Node, p: Packing): Node {
    const flat = builder.make(rearrange, [weights], p.toFlat, weights.origin);
    const padded =
      p.padding === 0
        ? flat
        : builder.make(pad, [flat], { axis: 'column', before: 0, after: p.padding, value: 0 }, weights.origin);
    return builder.make(rearrange, [padded], p.toPanels, weights.origin);
  }

  function unpack(panels: Node, p: Packing): Node {
    const joined = builder.make(rearrange, [panels], p.fromPanels, panels.origin);
    const cut =
      p.padding === 0
        ? joined
        : builder.make(slice, [joined], { axis: 'column', start: 0, size: p.columns, step: 1 }, panels.origin);
    return builder.make(rearrange, [cut], p.fromFlat, panels.origin);
  }
}

interface Packing {
  readonly columns: number;
  readonly padding: number;
  readonly toFlat: Attrs;
  readonly toPanels: Attrs;
  readonly fromPanels: Attrs;
  readonly fromFlat: Attrs;
}

/** Axis names inside the packing: `batch_0` …, `panel`, `term` of the sum, `column`, `column_in_panel`; parts of the weights' axes are `part_0` …. */
function packingOf(product: Product, columns: number): Packing {
  const { b, batch, columns: columnAxes, sum } = product;
  const width = Math.min(panel, Math.ceil(columns / 4) * 4);
  const panels = Math.ceil(columns / width);
  const short = new Map<string, string>([...b.type.axes].map((a, i) => [a.name, `part_${i}`]));
  const partOf = (a: Axis): string => short.get(a.name) ?? a.name;
  const elementary: { [part: string]: Size } = Object.fromEntries(b.type.axes.map((a) => [partOf(a), a.size]));
  const batchNames = batch.map((_, i) => `batch_${i}`);
  const total = (axes: readonly Axis[]) => axes.reduce<Size>((n, a) => multiplySizes(n, a.size), 1);
  const flat = [
    ...batch.map((a, i) => ({ name: `batch_${i}`, parts: [partOf(a)] })),
    { name: 'column', parts: columnAxes.map(partOf) },
    { name: 'term', parts: sum.map(partOf) },
  ];
  const batchSizes = Object.fromEntries(batch.map((a, i) => [`batch_${i}`, a.size]));
  const sizes = { ...batchSizes, panel: panels, column_in_panel: width, term: total(sum) };
  const whole = (names: readonly string[]) => names.map((name) => ({ name, parts: [name] }));
  return {
    columns,
    padding: panels * width - columns,
    toFlat: attrs(
      b.type.axes.map((a) => [partOf(a)]),
      flat,
      elementary,
    ),
    toPanels: attrs(
      [...batchNames.map((x) => [x]), ['panel', 'column_in_panel'], ['term']],
      whole([...batchNames, 'panel', 'term', 'column_in_panel']),
      sizes,
    ),
    fromPanels: attrs(
      [...batchNames.map((x) => [x]), ['panel'], ['term'], ['column_in_panel']],
      [...whole(batchNames), { name: 'column', parts: ['panel', 'column_in_panel'] }, ...whole(['term'])],
      sizes,
    ),
    fromFlat: attrs(
      flat.map((f) => f.parts),
      b.type.axes.map((a) => ({ name: a.name, parts: [partOf(a)] })),
      elementary,
    ),
  };
}

function attrs(
  split: readonly (readonly string[])[],
  merge: readonly { readonly name: string; readonly parts: readonly string[] }[],
  sizes: { readonly [part: string]: Size },
): Attrs {
  return { split, merge: merge.map((m) => ({ name: m.name, parts: m.parts })), sizes };
}
