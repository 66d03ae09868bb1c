// Parameters that are updated alike, whose gradients lie end to end, lie end to end themselves: one kernel updates all of them.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Builder, Node } from '../../dsl/graph/graph.ts';
import { broadcast, slice } from '../../dsl/ops/view.ts';
import { nameOf, state as stateOp, typeAttrs } from '../../dsl/ops/source.ts';
import { elementsOf } from '../../dsl/axis/axes.ts';
import type { BindingBudget } from './bindings.ts';
import { type StatePack, type InPlaceUpdates } from './group.ts';
import { isBindable, type Range } from './ranges.ts';

/** A kernel's updates, taken apart: what is computed, from which states, shared numbers and range of the gradients. */
interface Formula {
  readonly made: InPlaceUpdates;
  /** Maps in the order of the text. */
  readonly maps: readonly Node[];
  readonly key: string;
  /** The long value, and where the range begins. */
  readonly range: Range;
  readonly count: number;
}

export interface PackedUpdates {
  readonly updates: readonly InPlaceUpdates[];
  readonly packs: readonly StatePack[];
}

/**
 * Updates whose maps are the same but for the states and the range of one long value that they read, and whose ranges touch, become one on
 * states of all their elements. Sound because a map computes each element by itself. The states keep their names: each is a range of its
 * pack. `rangeOf`: where a value lies within a concatenation that is stored.
 */
export function packUpdates(
  given: readonly InPlaceUpdates[],
  rangeOf: (node: Node) => Range | undefined,
  builder: Builder,
  budget: BindingBudget,
): PackedUpdates {
  const kinds = new Map<string, Formula[]>();
  for (const made of given) {
    const formula = formulaOf(made, rangeOf);
    if (formula === undefined) continue;
    const alike = kinds.get(formula.key);
    if (alike === undefined) kinds.set(formula.key, [formula]);
    else alike.push(formula);
  }
  const packed = new Set<InPlaceUpdates>();
  const [updates, packs]: [InPlaceUpdates[], StatePack[]] = [[], []];
  for (const alike of kinds.values())
    for (const run of runsOf(alike, budget)) {
      const made = together(run, builder);
      for (const formula of run) packed.add(formula.made);
      updates.push(made.updates);
      packs.push(...made.packs);
    }
  return { updates: [...given.filter((made) => !packed.has(made)), ...updates], packs };
}

function formulaOf(made: InPlaceUpdates, rangeOf: (node: Node) => Range | undefined): Formula | undefined {
  const { updates, group } = made;
  const states = updates.map((update) => update.state);
  const [first] = states;
  if (first === undefined || !states.every((state) => hasFixedSizes(state) && state.type.dtype === first.type.dtype))
    return undefined;
  const maps: Node[] = [];
  const text: string[] = [];
  const known = new Map<Node, string>();
  let range: Range | undefined;
  const visit = (node: Node): string | undefined => {
    const same = known.get(node);
    if (same !== undefined) return same;
    let name: string | undefined;
    const state = states.indexOf(node);
    if (state >= 0) name = `state ${state}`;
    else if (group.nodes.has(node)) {
      const inputs = node.inputs.map(visit);
      if (inputs.some((input) => input === undefined)) return undefined;
      maps.push(node);
      name = `map ${text.length}`;
      text.push(`${node.op.name} ${JSON.stringify(node.attrs)} ${node.type.dtype} ${inputs.join(' ')}`);
    } else {
      const shared = oneOf(node);
      if (shared !== undefined) name = `one ${shared.id}`;
      else {
        const found = rangeOf(node);
        if (found === undefined || (range !== undefined && (found.of !== range.of || found.start !== range.start)))
          return undefined;
        range = found;
        name = 'range';
      }
    }
    known.set(node, name);
    return name;
  };
  const values = updates.map((update) => visit(update.value));
  if (values.some((value) => value === undefined) || range === undefined) return undefined;
  if (!isBindable(range.start, first.type.dtype)) return undefined;
  const key = [first.type.dtype, range.of.id, ...text, ...values].join('\n');
  return { made, maps, key, range, count: elementsOf(first.type.axes) };
}

function hasFixedSizes(node: Node): boolean {
  return node.type.axes.every((axis) => typeof axis.size === 'number');
}

/** Elements between two ranges that still touch: what the alignment of bindings leaves out. */
const gap = 64;

/** Two or more whose ranges touch, as many as one binding holds. */
function runsOf(alike: readonly Formula[], budget: BindingBudget): readonly (readonly Formula[])[] {
  const runs: Formula[][] = [];
  for (const formula of [...alike].sort((a, b) => a.range.start - b.range.start)) {
    const last = runs.at(-1);
    const [first, before] = [last?.[0], last?.at(-1)];
    const touches =
      first !== undefined &&
      before !== undefined &&
      formula.range.start - (before.range.start + before.count) < gap &&
      formula.range.start >= before.range.start + before.count &&
      budget.holds(formula.range.start + formula.count - first.range.start, formula.range.of.type.dtype);
    if (touches) last?.push(formula);
    else runs.push([formula]);
  }
  return runs.filter((run) => run.length > 1);
}

function together(
  run: readonly Formula[],
  builder: Builder,
): { readonly updates: InPlaceUpdates; readonly packs: readonly StatePack[] } {
  const [first, last] = [run[0], run.at(-1)];
  if (first === undefined || last === undefined) throw new TypeError('a pack of nothing');
  const { start } = first.range;
  const size = last.range.start + last.count - start;
  const flat: Axis = { name: first.range.of.type.axes[0]?.name ?? 'flat', size };
  const copies = new Map<Node, Node>();
  const packs = first.made.updates.map(({ state }, role): StatePack => {
    const parts = run.flatMap(({ made, range }) => {
      const own = made.updates[role]?.state;
      return own === undefined ? [] : [{ state: own, start: range.start - start }];
    });
    const name = `${nameOf(state)} and ${parts.length - 1} more`;
    const whole = builder.make(stateOp, [], { name, ...typeAttrs([flat], state.type.dtype) }, state.origin);
    copies.set(state, whole);
    return { whole, parts };
  });
  const copyOf = (node: Node): Node => {
    const known = copies.get(node);
    if (known !== undefined) return known;
    const shared = oneOf(node);
    const made =
      shared === undefined
        ? size === elementsOf(first.range.of.type.axes)
          ? first.range.of
          : builder.make(slice, [first.range.of], { axis: flat.name, start, size, step: 1 }, node.origin)
        : builder.make(broadcast, [shared], { axes: [{ name: flat.name, size }] }, node.origin);
    copies.set(node, made);
    return made;
  };
  for (const map of first.maps) copies.set(map, builder.make(map.op, map.inputs.map(copyOf), map.attrs, map.origin));
  const updates = first.made.updates.map(({ state, value }) => ({
    state: copyOf(state),
    value: copyOf(value),
    at: new Map<string, number>(),
  }));
  return {
    packs,
    updates: {
      updates,
      covers: run.flatMap(({ made }) => made.updates),
      group: {
        template: 'map',
        nodes: new Set(first.maps.map(copyOf)),
        roots: updates.map((update) => update.value),
      },
    },
  };
}

/** The single number that a node shows everywhere. */
function oneOf(node: Node): Node | undefined {
  const [x] = node.inputs;
  if (node.type.axes.length === 0) return node;
  return node.op.kind === 'view' && x !== undefined ? oneOf(x) : undefined;
}
