// The order of decisions: anchors (attention, contraction, reduction) take in the nodes around them that cost no memory traffic, updates and
// concatenations are written where they belong, what is left and must be stored becomes a map kernel, and what is too much for the device
// is stored too.
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { findAttention, isClosed, type Attention } from '../match/attention/attention.ts';
import { findRegionAttention, type RegionAttention } from '../match/attention/region-attention.ts';
import { findColumnRanges } from '../match/column-ranges.ts';
import { findRowWrites } from '../match/row-write.ts';
import { findRowStatistics, type RowOperand } from '../match/row-statistics.ts';
import { scoreRegion, storesScores } from '../match/attention/score-region.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { bindingBudget, leastBindings } from './bindings.ts';
import { findCacheJoins, findDirectUpdates } from '../match/cache-join.ts';
import { fitBindings } from './fit-bindings.ts';
import { findInPlaceUpdates } from './in-place-updates.ts';
import { isStoredSource, Owners, type Group, type Grouping, type Regions, type RowParts } from './group.ts';
import { computedInPlace, dependsOn, epilogue, leftParts, rows, type Epilogue, type Work } from './fusion.ts';
import { packUpdates } from './packed-updates.ts';
import { placeJoins, rangesIn } from './placed-joins.ts';
import { materialised } from './materialise.ts';
import { fuseHorizontally } from './horizontal-fusion.ts';
import { productsTogether } from './products-together.ts';

export interface GroupOptions {
  /** States that are updated alike may lie end to end; on by default. Not where another plan says how they lie. */
  readonly packStates?: boolean | undefined;
  /** The rows and summed axes of a product whose kernel can reduce its rows before; of no product unless told. */
  readonly rowOperand?: ((node: Node) => RowOperand | undefined) | undefined;
  /** The rows of a product whose kernel can make another one of them; as `rowOperand` unless told. */
  readonly pairedRows?: ((node: Node) => RowOperand | undefined) | undefined;
  /** Attention of regions that a kernel of its own makes; none unless told. */
  readonly regions?: Regions | undefined;
  /** The same of products whose kernels merge what others have left of their rows. */
  readonly mergedRows?: ((node: Node) => RowOperand | undefined) | undefined;
  /** What the rows of a value are reduced to in segments: the kernel of the product that makes it leaves that, where it can. */
  readonly rowParts?: ReadonlyMap<Node, RowParts> | undefined;
  /** Views that are stored, because they are read faster than what they show. */
  readonly copies?: ReadonlySet<Node> | undefined;
}

/** `builder`: of the graph's nodes; concatenations in stages and packs of states are made with it. */
export function group(
  graph: Graph,
  profile: DeviceProfile,
  builder: Builder,
  {
    packStates = true,
    rowOperand = () => undefined,
    pairedRows = rowOperand,
    mergedRows = () => undefined,
    rowParts = new Map(),
    regions,
    copies = new Set(),
  }: GroupOptions = {},
): Grouping {
  const choices = choicesOf(profile);

  const nodes = order(graph);
  const readers = new Map<Node, Node[]>(nodes.map((n) => [n, []]));
  for (const n of nodes) for (const x of new Set(n.inputs)) readers.get(x)?.push(n);
  const caches = findCacheJoins(graph, nodes, readers);
  const updates = findDirectUpdates(graph, readers);
  const rowWrites = findRowWrites(graph, readers);
  const written = new Set(rowWrites.map((write) => write.update));
  const cached = new Set([...caches.map((c) => c.update), ...updates, ...written]);
  const kept = new Set<Node>([
    ...graph.outputs.values(),
    ...graph.updates.filter((u) => !written.has(u)).map((u) => u.value),
    ...rowWrites.map((write) => write.part),
    ...copies,
  ]);
  const copied = new Set<Node>([
    ...graph.outputs.values(),
    ...graph.updates.filter((u) => !cached.has(u)).map((u) => u.value),
  ]);
  const inPlace = new Set<Node>();
  const outputs = new Set(graph.outputs.values());
  const budget = bindingBudget(graph, kept, profile);
  const work: Work = { readers, kept, copied, outputs, owner: new Owners(), inPlace, cuts: [], budget };
  const groups: Group[] = [];
  const claim = (made: Group): void => {
    groups.push(made);
    for (const n of made.nodes) if (!inPlace.has(n)) work.owner.set(n, made);
  };

  const readersOf = (x: Node): readonly Node[] => readers.get(x) ?? [];
  const regionOf = (n: Node): RegionAttention | undefined => {
    if (regions === undefined || n.op.kind !== 'contract' || work.owner.has(n)) return undefined;
    const found = findRegionAttention(n, {
      readersOf,
      isOwned: (x) => work.owner.has(x),
      isKept: (x) => kept.has(x),
      waitsFor: (x, members) => dependsOn(x, members, Math.min(...[...members].map(({ id }) => id)), work.owner),
      norms: regions.norms,
    });
    const fits = found !== undefined && leastBindings(found.nodes, found.roots, budget) <= budget.most;
    return fits && regions.fits(found) ? found : undefined;
  };
  for (const n of nodes) {
    const region = regionOf(n);
    if (region !== undefined) claim({ template: 'region', region, nodes: region.nodes, roots: region.roots });
  }
  for (const n of nodes) {
    if (n.op.kind !== 'contract' || work.owner.has(n)) continue;
    const attention = findAttention(n, (x) => kept.has(x) || work.owner.has(x));
    if (attention === undefined || leastBindings(attention.nodes, [n], budget) > budget.most) continue;
    // The gradient reads what is inside: the kernel computes it for itself, and so does every other that needs it.
    const isAlone = isClosed(attention, readersOf);
    if (!isAlone && storesScores(attention, choices)) continue;
    const region = isAlone ? undefined : scoreRegion(attention, readersOf, (x) => kept.has(x) || work.owner.has(x));
    if (!isAlone && (region === undefined || !isReadWithin(region, work))) continue;
    region?.forEach((x) => inPlace.add(x));
    // A map behind the attention loads the statistics of its softmax where others read them.
    const inner = isAlone ? attention.nodes : new Set([...attention.nodes].filter((x) => x.op.kind !== 'reduce'));
    const { chain, roots } = epilogue(n, inner, work);
    // Where some value on the scores is stored, its kernel walks the rows and makes the statistics too.
    const isAllInPlace = [...inner].every((x) => x === n || x.op.kind === 'reduce' || region?.has(x) === true);
    const statistics = isAllInPlace ? storedStatistics(attention, inner, { chain, roots }, work) : [];
    const made: Group = {
      template: 'attention',
      attention,
      storesStatistics: statistics.length > 0,
      chain,
      nodes: new Set([...inner, ...chain, ...statistics]),
      roots: [...roots, ...statistics],
    };
    groups.push(made);
    for (const x of isAlone ? made.nodes : [n, ...chain, ...statistics]) work.owner.set(x, made);
  }
  const isTaken = (x: Node): boolean => kept.has(x) || work.owner.has(x) || inPlace.has(x);
  const segments = new Set([...rowParts.values()].map(({ axis }) => axis));
  const mergedOf = (x: Node): RowOperand | undefined => {
    const rows = segments.size === 0 ? undefined : mergedRows(x);
    return rows === undefined ? undefined : { ...rows, parts: segments };
  };
  const splits = (x: Node): RowOperand | undefined =>
    work.owner.has(x) || inPlace.has(x) ? undefined : (rowOperand(x) ?? mergedOf(x));
  const reducing = new Set<Node>();
  for (const statistics of findRowStatistics(nodes, { rowOperand: splits, readersOf, isTaken })) {
    const products = nodes.filter((n) => n.inputs.some((x) => statistics.has(x)) && !statistics.has(n));
    if (products.some((n) => leastBindings(new Set([...statistics, n]), [n], budget) > budget.most)) continue;
    for (const n of statistics) inPlace.add(n);
    for (const n of products) reducing.add(n);
  }
  const placed = new Set([
    ...caches.map((c) => c.part),
    ...updates.map((u) => u.value),
    ...rowWrites.map((w) => w.part),
  ]);
  const rangesOf = (n: Node, computed: readonly Node[]) => {
    const ranges = findColumnRanges(n, {
      readersOf,
      isKept: (x) => kept.has(x),
      isPlaced: (x) => placed.has(x),
      isTaken: (x) => work.owner.has(x) || inPlace.has(x),
      waits: (x) => dependsOn(x, new Set([n]), n.id, work.owner),
    });
    if (ranges === undefined) return undefined;
    const own = new Set([n, ...computed, ...ranges.nodes]);
    const roots = ranges.each.map(({ root }) => root);
    // Where each row says is read where a value is written.
    const positions = new Set(rowWrites.flatMap(({ part, position }) => (roots.includes(part) ? [position] : [])));
    if (leastBindings(own, [...roots, ...positions], budget) > budget.most) return undefined;
    for (const from of roots)
      for (const to of readersOf(from)) work.cuts.push({ from, to, reason: `${to.op.kind} after ${n.op.kind}` });
    const chain = [...ranges.nodes].filter(({ op }) => op.kind === 'map').sort((a, b) => a.id - b.id);
    return { ranges, chain, nodes: own, roots };
  };
  for (const n of nodes) {
    if (work.owner.has(n) || inPlace.has(n)) continue;
    if (n.op.kind === 'contract') {
      const computed = computedInPlace(n.inputs, work);
      const side = reducing.has(n) ? -1 : n.inputs.findIndex((x) => inPlace.has(x));
      const merges = reducing.has(n) && rowOperand(n) === undefined ? ({ merges: true } as const) : {};
      const apart = side < 0 && pairedRows(n) !== undefined ? rangesOf(n, computed) : undefined;
      if (apart !== undefined) {
        claim({ template: 'contract', contract: n, ...merges, ...apart });
        continue;
      }
      const { chain, roots } = epilogue(n, new Set([n, ...computed]), work);
      const own = new Set([n, ...chain, ...computed]);
      const leaves = side < 0 ? leftParts([n, ...chain], own, roots, rowParts, work) : undefined;
      claim({
        template: 'contract',
        contract: n,
        ...merges,
        ...(leaves === undefined ? {} : { leaves }),
        chain,
        nodes: new Set([...own, ...(leaves?.nodes ?? [])]),
        roots: [...roots, ...(leaves?.results ?? [])],
        ...(side === 0 || side === 1 ? { streams: side } : {}),
      });
    } else if (n.op.kind === 'reduce') {
      claim(rows(n, work));
    } else if (n.op.kind === 'scatter') {
      const { chain, roots } = epilogue(n, new Set([n]), work);
      claim({ template: 'scatter', scatter: n, chain, nodes: new Set([n, ...chain]), roots });
    } else if (n.op.kind === 'sort') {
      claim({ template: 'sort', sort: n, nodes: new Set([n]), roots: [n] });
    }
  }
  groups.splice(0, groups.length, ...productsTogether(groups, pairedRows, work));

  const claimAlone = (n: Node): void => {
    if (!work.owner.has(n) && !isStoredSource(n)) claim({ template: 'map', nodes: new Set([n]), roots: [n] });
  };
  for (const n of placed) if (n.op.kind !== 'join') claimAlone(n);
  const joins = [...placeJoins(nodes, work, caches)];
  // A concatenation that several kernels write has a place of its own, and is copied into the state.
  const whole = (n: Node): boolean =>
    n.op.kind !== 'join' ||
    (joins.every(({ join }) => join !== n) && leastBindings(new Set([n]), [n], budget) <= budget.most);
  const direct = updates.filter(({ value }) => whole(value));
  for (const n of [...caches.map((c) => c.part), ...direct.map((u) => u.value), ...rowWrites.map((w) => w.part)])
    claimAlone(n);
  const others = { ...graph, updates: graph.updates.filter((u) => !written.has(u)) };
  const found = findInPlaceUpdates(others, readers, (n) => work.owner.has(n), budget);
  const { updates: updatesInPlace, packs } = packStates
    ? packUpdates(
        found,
        rangesIn(joins, (n) => work.owner.has(n)),
        builder,
        budget,
      )
    : { updates: found, packs: [] };
  for (const made of updatesInPlace) claim(made.group);
  // What packs compute instead needs no kernel.
  for (const { group: own } of found) for (const n of own.nodes) if (!work.owner.has(n)) work.owner.set(n, own);
  const stored = new Set<Node>([
    ...groups.flatMap((g) => g.roots),
    ...joins.map((j) => j.join),
    ...nodes.filter(isStoredSource),
    ...packs.map((pack) => pack.whole),
    ...rowWrites.map((write) => write.whole),
  ]);
  const parts = new Set(joins.flatMap((j) => [...j.parts]));
  for (const n of materialised(nodes, work, stored, parts, choices)) {
    if (!work.owner.has(n)) claim({ template: 'map', nodes: new Set(isStoredSource(n) ? [] : [n]), roots: [n] });
    stored.add(n);
  }
  const holder = new Map<Node, Node>([
    ...joins.flatMap(({ join, parts: made, cache }) => {
      const whole = cache?.state ?? join;
      return [join, ...made].map((node): [Node, Node] => [node, whole]);
    }),
    ...[...direct, ...updatesInPlace.flatMap((made) => made.updates)].map(({ value, state }): [Node, Node] => [
      value,
      state,
    ]),
    ...rowWrites.flatMap(({ whole: all, part, update }): [Node, Node][] => [
      [all, update.state],
      [part, update.state],
    ]),
  ]);
  fitBindings({ work, groups, joins, stored, holder, known: new Set(nodes), builder });
  const alone = new Set([
    ...graph.updates.map((update) => update.state),
    ...direct.map((update) => update.value),
    ...rowWrites.map((write) => write.part),
    ...[...parts].filter((part) => joins.every((j) => j.ranges.size === 0 || !j.parts.has(part))),
  ]);
  return {
    groups: fuseHorizontally(groups, stored, alone, Math.min(choices.fusedTensors, budget.most), budget),
    joins,
    packs,
    inPlace: updatesInPlace,
    rowWrites,
    direct: direct.filter((u) => groups.some((g) => g.roots.includes(u.value)) && !parts.has(u.value)),
    cuts: work.cuts,
    stored,
  };
}

/** Whether everyone who would compute these values for itself has buffers for what they are made of. */
function isReadWithin(region: ReadonlySet<Node>, work: Work): boolean {
  const inPlace = new Set([...work.inPlace, ...region]);
  const outside = new Set([...region].flatMap((x) => work.readers.get(x) ?? []).filter((x) => !inPlace.has(x)));
  return [...outside].every((x) => {
    const members = new Set([x, ...computedInPlace(x.inputs, { inPlace })]);
    return leastBindings(members, [x], work.budget) <= work.budget.most;
  });
}

/**
 * The largest logit and the sum of each row, if the kernel of an attention can store them for those who read them: what it loads waits for
 * neither, and it has the bindings.
 */
function storedStatistics(
  { largest, total }: Attention,
  inner: ReadonlySet<Node>,
  { chain, roots }: Epilogue,
  work: Work,
): readonly Node[] {
  const statistics = [largest, total];
  const members = new Set([...inner, ...chain, ...statistics]);
  const isFree = statistics.every((x) => !work.kept.has(x) && !work.owner.has(x) && !work.inPlace.has(x));
  const loaded = [...members].flatMap((x) => x.inputs).filter((x) => !members.has(x));
  const oldest = Math.min(...statistics.map(({ id }) => id));
  const waits = loaded.some((x) => dependsOn(x, new Set(statistics), oldest, work.owner));
  // A map behind the attention that reads one of them would read what its own kernel writes.
  const isReadBehind = chain.some((x) => x.inputs.some((input) => statistics.includes(input)));
  const fits = leastBindings(members, [...roots, ...statistics], work.budget) <= work.budget.most;
  return isFree && !waits && !isReadBehind && fits ? statistics : [];
}
