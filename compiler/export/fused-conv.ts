// Convolution by what it is made of: windows over two axes of a padded tensor, multiplied with filters and summed.
import { axisOf, type Axis } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { pad, rearrange, window } from '../../dsl/ops/view.ts';
import type { Fused } from './fused-operator.ts';

interface Window {
  /** The axis of positions, under its name in the windowed tensor. */
  readonly outer: string;
  readonly inner: string;
  readonly axis: string;
  readonly stride: number;
  readonly dilation: number;
  readonly before: number;
  readonly after: number;
}

interface Windows {
  readonly x: Node;
  readonly windows: readonly [Window, Window];
  /** Name in `x` of an axis of the windowed tensor that is not a window's. */
  readonly original: (name: string) => string;
  readonly nodes: readonly Node[];
}

/** A convolution that ends in this node: a product of matrices over windows, or one filter a channel. */
export function convAt(node: Node): Fused | undefined {
  if (node.op.name === 'contract') return dense(node);
  return node.op.name === 'sum' ? depthwise(node) : undefined;
}

function dense(node: Node): Fused | undefined {
  const [a, b] = node.inputs;
  if (a === undefined || b === undefined) return undefined;
  for (const [seen, filters] of [
    [a, b],
    [b, a],
  ] as const) {
    const found = matchWindows(seen);
    if (found === undefined) continue;
    const { batch, rows, columns, sum } = roles(seen.type, filters.type, node.type);
    const kernel = found.windows.map((window) => window.inner);
    const channels = sum.filter((axis) => !kernel.includes(axis.name));
    const [channel] = channels;
    if (
      batch.length > 0 ||
      columns.length === 0 ||
      channel === undefined ||
      channels.length !== 1 ||
      sum.length !== 3 ||
      found.windows.some((window) => axisOf(rows, window.outer) === undefined)
    )
      continue;
    return conv(node, found, filters, channel, columns, [columns, [channel]], 1);
  }
  return undefined;
}

function depthwise(node: Node): Fused | undefined {
  const product = node.inputs[0];
  const reduced = reducedAxes(node);
  if (product?.op.name !== 'mul' || node.type.dtype === 'bf16') return undefined;
  const [a, b] = product.inputs;
  if (a === undefined || b === undefined) return undefined;
  for (const [seen, filters] of [
    [a, b],
    [b, a],
  ] as const) {
    const found = matchWindows(seen);
    if (found === undefined || reduced.length !== 2 || found.windows.some((window) => !reduced.includes(window.inner)))
      continue;
    const [channel, ...more] = filters.type.axes.filter((axis) => !reduced.includes(axis.name));
    if (
      channel === undefined ||
      more.length > 0 ||
      filters.type.axes.length !== 3 ||
      found.windows.some((window) => window.outer === channel.name) ||
      typeof channel.size !== 'number'
    )
      continue;
    const fused = conv(node, found, filters, channel, [channel], [[channel], []], channel.size);
    return { ...fused, nodes: [...fused.nodes, product] };
  }
  return undefined;
}

/** `channel`: of the input; `out`: the channels of the result; `filterGroups`: output and input channels of the filters. */
function conv(
  node: Node,
  { x, windows, original, nodes }: Windows,
  filters: Node,
  channel: Axis,
  out: readonly Axis[],
  filterGroups: readonly [readonly Axis[], readonly Axis[]],
  groups: number,
): Fused {
  return {
    operands: [x, filters],
    nodes: [node, ...nodes],
    lower: (exporter) => {
      const { writer, permutations } = exporter;
      const value = exporter.value(x);
      const spatial = windows.map((window) => value.axes.filter((axis) => axis.name === window.axis));
      const channels = value.axes.filter((axis) => axis.name === original(channel.name));
      const rest = value.axes.filter((axis) => ![...spatial, channels].flat().includes(axis));
      const image = permutations.grouped(value, [rest, channels, ...spatial]);
      const kernel = windows.map((window) => filters.type.axes.filter((axis) => axis.name === window.inner));
      const weight = permutations.grouped(exporter.value(filters), [...filterGroups, ...kernel]);
      const attrs = {
        strides: windows.map((window) => BigInt(window.stride)),
        dilations: windows.map((window) => BigInt(window.dilation)),
        pads: [...windows.map((window) => BigInt(window.before)), ...windows.map((window) => BigInt(window.after))],
        group: BigInt(groups),
      };
      const tensor = writer.emit('Conv', [image, weight], attrs);
      const renamed = new Map(node.type.axes.map((axis) => [original(axis.name), axis]));
      const axes = [
        ...rest.flatMap((axis) => renamed.get(axis.name) ?? []),
        ...out,
        ...windows.flatMap((window) => axisOf(node.type.axes, window.outer) ?? []),
      ];
      const flat = rest.length === 1 && out.length === 1;
      exporter.set(node, {
        tensor: flat
          ? tensor
          : writer.reshape(
              tensor,
              axes.map((axis) => [axis.size]),
            ),
        axes,
      });
    },
  };
}

/** Two windows, each over a padded axis of fixed size, and a renaming of the axes behind them. */
function matchWindows(node: Node): Windows | undefined {
  const nodes: Node[] = [];
  const names = new Map(node.type.axes.map((axis) => [axis.name, axis.name]));
  let current = node;
  while (current.op.name === 'rearrange') {
    const { split, merge } = rearrange.read(current.attrs);
    const input = current.inputs[0];
    if (
      input === undefined ||
      split.some((parts) => parts.length !== 1) ||
      merge.some((group) => group.parts.length !== 1)
    )
      return undefined;
    const before = new Map(
      merge.map((group) => [
        group.name,
        input.type.axes[split.findIndex((parts) => parts[0] === group.parts[0])]?.name ?? '',
      ]),
    );
    for (const [name, now] of names) names.set(name, before.get(now) ?? now);
    nodes.push(current);
    current = input;
  }
  const behind = (name: string): string => [...names].find(([, now]) => now === name)?.[0] ?? name;
  const windows: Window[] = [];
  while (current.op.name === 'window' && windows.length < 2) {
    const {
      axis,
      into: [outer, inner],
      stride,
      dilation,
    } = window.read(current.attrs);
    const padded = current.inputs[0];
    if (padded === undefined || axis !== outer) return undefined;
    nodes.push(current);
    const padding = padded.op.name === 'pad' ? pad.read(padded.attrs) : undefined;
    const pads = padding?.axis === axis && padding.value === 0 ? padding : undefined;
    const { before, after } = pads ?? { before: 0, after: 0 };
    const unpadded = pads === undefined ? padded : padded.inputs[0];
    if (
      unpadded === undefined ||
      typeof before !== 'number' ||
      typeof after !== 'number' ||
      typeof axisOf(unpadded.type.axes, axis)?.size !== 'number'
    )
      return undefined;
    if (pads !== undefined) nodes.push(padded);
    windows.push({
      outer: behind(outer),
      inner: behind(inner),
      axis,
      stride,
      dilation,
      before,
      after,
    });
    current = unpadded;
  }
  const [second, first] = windows;
  if (
    first === undefined ||
    second === undefined ||
    first.axis === second.axis ||
    [first, second].some((window) => axisOf(current.type.axes, window.inner) !== undefined)
  )
    return undefined;
  return { x: current, windows: [first, second], original: (name) => names.get(name) ?? name, nodes };
}
