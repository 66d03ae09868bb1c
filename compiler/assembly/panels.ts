// Panels of 64 columns of a product's operand, the summed axis inside a panel, so that four neighbouring columns are one load and what
// follows in the sum follows in memory. For matrix units the panels lie block by block: what a unit takes at once is one piece of memory.
import { multiplySizes, type Axis, type Size } from '../../dsl/axis/axis.ts';
import type { Builder, Node } from '../../dsl/graph/graph.ts';
import type { Attrs } from '../../dsl/graph/op.ts';
import { pad, rearrange, slice } from '../../dsl/ops/view.ts';
import type { Product } from '../schedule/contract.ts';

const panel = 64;

/** Fewer columns than this are not worth a layout of their own. */
const fewestColumns = 4;

/** How an operand becomes panels and an operand again: views, and zeros behind the last column. */
export interface Panels {
  readonly columns: number;
  readonly padding: number;
  readonly toFlat: Attrs;
  readonly fromFlat: Attrs;
  readonly toPanels: Attrs;
  readonly fromPanels: Attrs;
}

/** What a matrix unit takes of the operand at once. */
export interface PanelBlock {
  readonly terms: number;
  readonly columns: number;
}

/** The operand as panels. */
export function inPanels(builder: Builder, operand: Node, p: Panels): Node {
  const flat = builder.make(rearrange, [operand], p.toFlat, operand.origin);
  const padded =
    p.padding === 0
      ? flat
      : builder.make(pad, [flat], { axis: 'column', before: 0, after: p.padding, value: 0 }, operand.origin);
  return builder.make(rearrange, [padded], p.toPanels, operand.origin);
}

/** Panels seen as the operand that they were. */
export function fromPanels(builder: Builder, panels: Node, p: Panels): Node {
  const joined = builder.make(rearrange, [panels], p.fromPanels, panels.origin);
  const cut =
    p.padding === 0
      ? joined
      : builder.make(slice, [joined], { axis: 'column', start: 0, size: p.columns, step: 1 }, panels.origin);
  return builder.make(rearrange, [cut], p.fromFlat, panels.origin);
}

/**
 * Axis names inside the packing: `batch_0` …, `panel`, `term` of the sum, `column`, `column_in_panel`; parts of the weights' axes are `part_0` ….
 * With a `block` that divides the sum, `block_of_terms` and `block_of_columns` stand in front of `term_in_block` and `column_in_block`.
 */
export function panelsOf({ b, batch, columns: columnAxes, sum }: Product, block?: PanelBlock): Panels | undefined {
  const columns = total(columnAxes);
  const terms = total(sum);
  // A size that only a run knows has no panels.
  if (typeof columns !== 'number' || columns < fewestColumns) return undefined;
  const isInBlocks = block !== undefined && typeof terms === 'number' && terms % block.terms === 0;
  const multiple = isInBlocks ? block.columns : 4;
  const width = Math.min(panel, Math.ceil(columns / multiple) * multiple);
  const panels = Math.ceil(columns / width);
  const short = new Map<string, string>([...b.type.axes].map((a, i) => [a.name, `part_${i}`]));
  const partOf = (a: Axis): string => short.get(a.name) ?? a.name;
  const elementary: { [part: string]: Size } = Object.fromEntries(b.type.axes.map((a) => [partOf(a), a.size]));
  const batchNames = batch.map((_, i) => `batch_${i}`);
  const flat = [
    ...batch.map((a, i) => ({ name: `batch_${i}`, parts: [partOf(a)] })),
    { name: 'column', parts: columnAxes.map(partOf) },
    { name: 'term', parts: sum.map(partOf) },
  ];
  const batchSizes = Object.fromEntries(batch.map((a, i) => [`batch_${i}`, a.size]));
  const whole = (names: readonly string[]) => names.map((name) => ({ name, parts: [name] }));
  /** What columns and terms are made of, from the slowest on, and the order that the parts lie in. */
  const inside = isInBlocks
    ? {
        sizes: {
          block_of_columns: width / block.columns,
          column_in_block: block.columns,
          block_of_terms: terms / block.terms,
          term_in_block: block.terms,
        },
        column: ['panel', 'block_of_columns', 'column_in_block'],
        term: ['block_of_terms', 'term_in_block'],
        order: ['panel', 'block_of_terms', 'block_of_columns', 'term_in_block', 'column_in_block'],
      }
    : {
        sizes: { column_in_panel: width, term: terms },
        column: ['panel', 'column_in_panel'],
        term: ['term'],
        order: ['panel', 'term', 'column_in_panel'],
      };
  const sizes = { ...batchSizes, panel: panels, ...inside.sizes };
  const lying = [...batchNames, ...inside.order];
  return {
    columns,
    padding: panels * width - columns,
    toFlat: attrs(
      b.type.axes.map((a) => [partOf(a)]),
      flat,
      elementary,
    ),
    toPanels: attrs([...batchNames.map((x) => [x]), inside.column, inside.term], whole(lying), sizes),
    fromPanels: attrs(
      lying.map((x) => [x]),
      [...whole(batchNames), { name: 'column', parts: inside.column }, { name: 'term', parts: inside.term }],
      sizes,
    ),
    fromFlat: attrs(
      flat.map((f) => f.parts),
      b.type.axes.map((a) => ({ name: a.name, parts: [partOf(a)] })),
      elementary,
    ),
  };
}

function total(axes: readonly Axis[]): Size {
  return axes.reduce<Size>((n, a) => multiplySizes(n, a.size), 1);
}

function attrs(
  split: readonly (readonly string[])[],
  merge: readonly { readonly name: string; readonly parts: readonly string[] }[],
  sizes: { readonly [part: string]: Size },
): Attrs {
  return { split, merge: merge.map((m) => ({ name: m.name, parts: m.parts })), sizes };
}
