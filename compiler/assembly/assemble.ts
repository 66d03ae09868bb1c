// Groups to ordered kernels: each group scheduled, concatenation parts and state updates copied where no kernel writes them itself.
import { roleOf, type Graph, type Node, type Update } from '../../dsl/graph/graph.ts';
import { symbolsOf } from '../../dsl/graph/symbols.ts';
import { orderFrom } from '../../dsl/graph/walk.ts';
import { sizeIndex } from '../index/index-math.ts';
import { type Group, type Grouping, isStoredSource } from '../fuse/group.ts';
import { isUnbound } from '../fuse/bindings.ts';
import { isEmpty, sectionsAlong } from '../kernel/sections.ts';
import { flopsOf } from '../cost.ts';
import type { DeviceProfile } from '../profile.ts';
import { schedule } from '../schedule/index.ts';
import { SameKernels } from './same-kernels.ts';
import { makeRange, makeStorage, type Placement, type Storage } from '../kernel/storage.ts';
import { ordersOf, type Step } from './kernel-order.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

export interface Assembly {
  readonly steps: readonly Step[];
  /** The same in other orders, which hold hardly more at a time. */
  readonly otherOrders: readonly (readonly Step[])[];
  /** Where each stored node is. */
  readonly places: ReadonlyMap<Node, Placement>;
  /** Outputs by name; a node that is an input or a parameter itself is copied into an output. */
  readonly outputs: ReadonlyMap<string, Storage>;
  readonly sources: ReadonlyMap<Node, Storage>;
}

/** `byOutput`: what one output needs stands together, as is best for work of load time, whose operands are let go one by one. */
export function assemble(
  graph: Graph,
  grouping: Grouping,
  profile: DeviceProfile,
  options: { readonly byOutput?: boolean } = {},
): Assembly {
  const places = new Map<Node, Placement>();
  const targets = new Map<Node, Placement>();
  const sources = new Map<Node, Storage>();
  let next = 0;
  const storageOf = (node: Node): Storage => makeStorage(`v${next++}`, node);
  const inPart = new Set([
    ...grouping.joins.flatMap((j) => [...j.parts]),
    ...grouping.rowWrites.map((write) => write.part),
  ]);
  for (const { join, cache } of grouping.joins) {
    if (cache === undefined) {
      places.set(join, { storage: storageOf(join) });
      continue;
    }
    const storage = sources.get(cache.state) ?? storageOf(cache.state);
    sources.set(cache.state, storage);
    places.set(cache.state, { storage });
    places.set(join, { storage });
  }
  // Ranges are bound by themselves, and are a value's own place.
  for (const { join, ranges } of grouping.joins) {
    const storage = places.get(join)?.storage;
    if (storage === undefined) continue;
    for (const [node, start] of ranges) places.set(node, { storage: makeRange(`v${next++}`, node, storage, start) });
  }
  for (const { whole, parts } of grouping.packs) {
    const storage = storageOf(whole);
    sources.set(whole, storage);
    places.set(whole, { storage });
    for (const { state, start } of parts) {
      const range = makeRange(`v${next++}`, state, storage, start);
      sources.set(state, range);
      places.set(state, { storage: range });
    }
  }
  for (const { state, value, at } of grouping.direct) {
    const storage = sources.get(state) ?? storageOf(state);
    sources.set(state, storage);
    places.set(state, { storage });
    const target: Placement = { storage, starts: new Map([...at].map(([axis, start]) => [axis, sizeIndex(start)])) };
    places.set(value, target);
    targets.set(value, target);
  }
  for (const { whole, part, axis, position, update } of grouping.rowWrites) {
    const storage = sources.get(update.state) ?? storageOf(update.state);
    sources.set(update.state, storage);
    for (const node of [update.state, whole]) places.set(node, { storage });
    targets.set(part, { storage, starts: new Map(), row: { axis, position } });
  }
  for (const node of grouping.stored) {
    if (places.has(node) || inPart.has(node)) continue;
    const storage = storageOf(node);
    places.set(node, { storage });
    if (isStoredSource(node)) sources.set(node, storage);
  }
  const copies: {
    readonly group: Group;
    readonly target: Placement;
    readonly afterReaders: boolean;
    readonly from?: Placement;
  }[] = [];
  const copied: { readonly node: Node; readonly target: Placement }[] = [];
  for (const { join, parts, sections, cache, ranges } of grouping.joins) {
    const name = alongAxis(join);
    const storage = places.get(join)?.storage;
    if (storage === undefined) continue;
    for (const [i, part] of sectionsAlong(sections, name).entries()) {
      // The old part of a cache is where it is.
      if (cache !== undefined && i === 0) continue;
      const target: Placement = { storage, starts: new Map([[name, part.start]]) };
      if (ranges.size > 0 && parts.has(part.node)) continue;
      if (parts.has(part.node)) {
        places.set(part.node, target);
        targets.set(part.node, target);
      } else copied.push({ node: part.node, target });
    }
  }
  // What is copied into one concatenation may stand in another: only now is it known where.
  for (const { node, target } of copied)
    copies.push({ group: copyOf(node, places.has(node)), target, afterReaders: false });
  const written = new Set(grouping.inPlace.map(({ group }) => group));
  for (const { updates } of grouping.inPlace)
    for (const { state, value } of updates) {
      const storage = sources.get(state) ?? storageOf(state);
      sources.set(state, storage);
      places.set(state, { storage });
      targets.set(value, { storage });
    }
  const inPlace = new Set<Update>([
    ...grouping.direct,
    ...grouping.rowWrites.map((write) => write.update),
    ...grouping.inPlace.flatMap(({ updates, covers }) => covers ?? updates),
    ...grouping.joins.flatMap((j) => (j.cache === undefined ? [] : [j.cache])),
  ]);
  for (const update of graph.updates) {
    if (inPlace.has(update)) continue;
    const { state, value, at } = update;
    const storage = places.get(state)?.storage;
    if (storage === undefined) continue;
    // A value that is a state itself is set aside first: two states may trade places, and none may be read while it is written.
    const aside = roleOf(value) === 'state' ? storageOf(value) : undefined;
    if (aside !== undefined)
      copies.push({ group: copyOf(value, true), target: { storage: aside }, afterReaders: false });
    const target: Placement = { storage, starts: new Map([...at].map(([axis, start]) => [axis, sizeIndex(start)])) };
    copies.push({
      group: copyOf(value, true),
      target,
      afterReaders: true,
      ...(aside === undefined ? {} : { from: { storage: aside } }),
    });
  }
  const outputs = new Map<string, Storage>();
  for (const [name, node] of graph.outputs) {
    if (isStoredSource(node)) {
      const known = targets.get(node)?.storage ?? storageOf(node);
      targets.set(node, { storage: known });
      outputs.set(name, known);
    } else {
      const storage = places.get(node)?.storage;
      if (storage === undefined) throw new TypeError(`the output '${name}' is not stored`);
      outputs.set(name, storage);
    }
  }
  // A number that is an output has a place, and is still not read from there.
  const place = (node: Node) => (isUnbound(node) ? undefined : places.get(node));
  const hasSymbols = symbolsOf(graph, 'compile').length > 0;
  const steps: Step[] = [];
  const same = new SameKernels();
  const add = (group: Group, target: (node: Node) => Placement, last: boolean, from?: Placement): void => {
    if (group.roots.every(isEmpty)) return; // nothing to compute
    const context = { profile, hasSymbols, place: from === undefined ? place : () => from, target, room: storageOf };
    const kernels = from === undefined ? same.schedule(group, context) : schedule(group, context);
    for (const { kernel, template } of kernels)
      steps.push({
        kernel,
        template,
        group,
        label: labelOf(group),
        path: pathOf(group),
        flops: [...group.nodes].reduce((sum, n) => sum + flopsOf(n), 0),
        last,
      });
  };
  for (const group of grouping.groups) {
    add(
      group,
      (node) => {
        const target = targets.get(node) ?? places.get(node);
        if (target === undefined) throw new TypeError(`nowhere to write ${node.op.name}`);
        return target;
      },
      written.has(group),
    );
  }
  for (const { group, target, afterReaders, from } of copies) add(group, () => target, afterReaders, from);
  const [inOrder = [], ...otherOrders] = ordersOf(steps, {
    graph,
    first: options.byOutput === true ? firstOutputs(graph) : new Map(),
    kept: new Set([...sources.values(), ...outputs.values()]),
  });
  return {
    steps: inOrder,
    otherOrders,
    places,
    outputs,
    sources,
  };
}

function copyOf(node: Node, isStored: boolean): Group {
  return { template: 'map', nodes: new Set(isStored ? [] : [node]), roots: [node] };
}

/** For each node the first output that needs it, outputs being in the order of the parameters that they read, which is the model's. */
function firstOutputs(graph: Graph): ReadonlyMap<Node, number> {
  const below = [...graph.outputs.values()].map((output) => {
    const nodes = orderFrom([output]);
    return { nodes, parameter: nodes.find((node) => roleOf(node) === 'param')?.id ?? -1 };
  });
  const first = new Map<Node, number>();
  below
    .sort((a, b) => a.parameter - b.parameter)
    .forEach(({ nodes }, number) => {
      for (const node of nodes) if (!first.has(node)) first.set(node, number);
    });
  return first;
}

/** `contract+add+gelu`: what a kernel computes, views left out, long lists shortened. */
export function labelOf(group: Group): string {
  if (group.template === 'region')
    return `${group.region.parts.some(({ norm }) => norm !== undefined) ? 'norm+' : ''}region attention`;
  const anchor = group.template === 'attention' ? ['attention'] : group.template === 'contract' ? ['contract'] : [];
  const names =
    group.template === 'attention' || group.template === 'contract'
      ? group.chain.filter((n) => n.op.kind === 'map').map((n) => n.op.name)
      : [...group.nodes].sort((a, b) => a.id - b.id).map((n) => n.op.name);
  // Ranges of columns go through like maps, each through its own.
  const ranges = group.template === 'contract' ? group.ranges?.each.length : undefined;
  if (ranges !== undefined) return `${[...new Set([...anchor, ...names])].join('+')} in ${ranges} ranges`;
  const all = [...anchor, ...names];
  if (all.length === 0) return 'copy';
  return all.length <= 8 ? all.join('+') : `${all.slice(0, 7).join('+')}+…${all.length - 7}`;
}

function pathOf(group: Group): string {
  // The anchor knows its layer; a residual's path is what two layers have in common.
  const anchor =
    group.template === 'contract'
      ? group.contract
      : group.template === 'attention'
        ? group.attention.product
        : group.template === 'region'
          ? group.region.parts[0]?.mean
          : undefined;
  if (anchor !== undefined && anchor.origin.path !== '') return anchor.origin.path;
  return group.roots.map((r) => r.origin.path).find((p) => p !== '') ?? '';
}
