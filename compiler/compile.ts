// The walk, one line a stage: passes → load time → layout → group → schedule → memory → emit → Plan.
import { printAxes } from '../dsl/axis/axis.ts';
import { OpabiniaError } from '../dsl/error.ts';
import { Builder, roleOf, type Graph, type Node } from '../dsl/graph/graph.ts';
import { requireGraph, requireOptions } from '../dsl/graph/required.ts';
import { order } from '../dsl/graph/walk.ts';
import { sortedSymbols } from '../dsl/graph/symbols.ts';
import { assemble, type Assembly } from './assembly/assemble.ts';
import type { Grouping } from './fuse/group.ts';
import { group } from './fuse/grouping.ts';
import { rewriteRowProducts } from './products/row-products.ts';
import { withOperandPanels } from './assembly/operand-panels.ts';
import { partialStatistics, type PartialStatistics } from './products/partial-statistics.ts';
import { splitSums } from './products/split-sums.ts';
import { layVectors } from './assembly/vector-layout.ts';
import { packWeights } from './assembly/weight-layout.ts';
import { splitLoadTime, type SplitGraph } from './rewrite/load-time.ts';
import { withWideParameters } from './rewrite/wide-parameters.ts';
import { runPasses, type Pass, type PassReport } from './rewrite/pass.ts';
import { passes as standardPasses } from './passes/index.ts';
import { areLight, areNarrow, areSame, withSharedDispatches } from './assembly/shared-dispatch.ts';
import { makePlan } from './assembly/make-plan.ts';
import type { Plan } from './plan.ts';
import { choicesOf, requireProfile, type DeviceProfile } from './profile.ts';
import { isTiled, mergedRows, pairedRows, partsOfSum, reducedRows, segmentOf, splitRows } from './schedule/index.ts';
import { regionsOf } from './schedule/region-attention.ts';
import { blockOf } from './schedule/matrix-unit-of.ts';
import { verifyAssembly, verifyPlan } from './verify.ts';

export interface CompileOptions {
  /** Graph passes, in order; the standard ones when left out. */
  readonly passes?: readonly Pass[];
  /** Weights packed into the layout of their kernels; on by default. */
  readonly packing?: boolean;
  /** Check every invariant after every stage; on in tests. */
  readonly verify?: boolean;
  /** Kernels of plans that train share dispatches, and small maps of all plans; on by default. */
  readonly shareDispatches?: boolean;
  /** A plan that is loaded with the same `SharedBuffers`: states of both lie where it has them. */
  readonly states?: Plan | undefined;
  readonly report?: (stage: Stage) => void;
}

/** Dispatches among which a kernel of an inference looks for company: found by counting those of Cambrian-8B, where 4 and 16 make 2 % more. */
const inferenceReach = 8;

/** What each stage of the walk made, for `explain` and for tests. */
export type Stage =
  | { readonly name: 'pass'; readonly report: PassReport }
  | { readonly name: 'split'; readonly split: SplitGraph }
  | { readonly name: 'statistics'; readonly statistics: PartialStatistics }
  | { readonly name: 'group'; readonly which: 'load' | 'main'; readonly grouping: Grouping }
  | { readonly name: 'schedule'; readonly which: 'load' | 'main'; readonly assembly: Assembly }
  /** `steps` has one for each dispatch of a run. */
  | { readonly name: 'plan'; readonly plan: Plan; readonly steps: Assembly['steps'] };

/**
 * A graph as a plan for a device of this profile. Pure: no GPU, no files. Throws `OpabiniaError` for what is no graph or no profile,
 * and where the device's limits do not suffice.
 * @example const plan = compile(graph, deviceProfile(await openDevice()))
 */
export function compile(graph: Graph, profile: DeviceProfile, options: CompileOptions = {}): Plan {
  requireOptions('compile', options, '{ verify: true }');
  const { passes = standardPasses, packing = true, verify = false, states, shareDispatches = true, report } = options;
  requireGraph('compile', graph);
  requireProfile('compile', profile);
  const symbols = sortedSymbols(graph, 'compile');
  const readable = profile.f16 ? graph : withWideParameters(graph);
  refuseUnsupported(readable, profile);
  const builder = new Builder();
  const ideal = runPasses(readable, passes, (done) => report?.({ name: 'pass', report: done }), {
    verify,
    builder,
    profile,
  });
  const apart = splitLoadTime(ideal, builder);
  const rowOperand = (node: Node) => reducedRows(node, profile);
  const packed = packing
    ? packWeights(apart, {
        builder,
        isTiled: (contract) => isTiled(contract, profile),
        blockOf: (contract) => blockOf(contract, profile),
        mostBytes: choicesOf(profile).rewrittenBytes,
        panelRows: choicesOf(profile).panelRows,
      })
    : apart;
  const mostBindings = profile.maxBindings - (symbols.length > 0 ? 1 : 0);
  const laid = packing ? layVectors(packed, builder, mostBindings) : packed;
  const pairedOf = (node: Node) => pairedRows(node, profile);
  const rowProducts = rewriteRowProducts(laid.main, {
    builder,
    rowOperand: pairedOf,
    splitRows: (node) => splitRows(node, profile),
    leastColumns: choicesOf(profile).reducedRowsColumns,
    partsOf: (node, columns) => partsOfSum(node, profile, columns),
    mostBindings,
  });
  const inParts = splitSums(rowProducts, { builder, partsOf: (contract) => partsOfSum(contract, profile) });
  const { graph: panelled, copies } = packing
    ? withOperandPanels(inParts, builder, profile)
    : { graph: inParts, copies: undefined };
  const mergedOf = (node: Node) => mergedRows(node, profile);
  const statistics = partialStatistics(panelled, {
    builder,
    mergedRows: mergedOf,
    segmentOf: (contract) => segmentOf(contract, profile),
    mostBindings,
  });
  const split = { ...laid, main: statistics.graph };
  report?.({ name: 'split', split });
  report?.({ name: 'statistics', statistics });
  const [load, main] = (['load', 'main'] as const).map((which) => {
    const grouping = group(split[which], profile, builder, {
      packStates: states === undefined,
      rowOperand,
      pairedRows: pairedOf,
      ...(which === 'load'
        ? {}
        : {
            regions: regionsOf(profile),
            mergedRows: mergedOf,
            rowParts: statistics.parts,
            copies: copies === undefined ? undefined : new Set([...copies].map(statistics.now)),
          }),
    });
    report?.({ name: 'group', which, grouping });
    const assembly = assemble(split[which], grouping, profile, { byOutput: which === 'load' });
    if (verify) verifyAssembly(assembly, profile);
    report?.({ name: 'schedule', which, assembly });
    if (!shareDispatches || which === 'load') return assembly;
    // Where states change in place, as in a training step, there is much that does not wait for anything.
    const isTraining = grouping.inPlace.length > 0 && symbols.length === 0;
    const { narrowWorkgroups } = choicesOf(profile);
    const share = (steps: Assembly['steps'], early: boolean): Assembly =>
      withSharedDispatches({ ...assembly, steps }, profile, {
        may: isTraining
          ? undefined
          : (step, others) =>
              areLight(step, others) || areNarrow(step, others, narrowWorkgroups) || areSame(step, others),
        early,
        // In an inference what stands late makes a whole tower late.
        reach: isTraining ? undefined : inferenceReach,
        symbols: symbols.map(({ name }) => name),
      });
    // In another order as good, or early or late, more of it may stand together.
    const orders = isTraining ? [assembly.steps, ...assembly.otherOrders] : [assembly.steps];
    const merged = orders
      .flatMap((steps) => [share(steps, true), ...(isTraining ? [share(steps, false)] : [])])
      .reduce((best, other) => (other.steps.length < best.steps.length ? other : best));
    if (verify) verifyAssembly(merged, profile);
    return merged;
  });
  if (load === undefined || main === undefined) throw new TypeError('two graphs make two assemblies');
  const plan = makePlan(split, load, main, symbols, inputsOf(graph), profile, { states });
  if (verify) verifyPlan(plan, profile);
  report?.({ name: 'plan', plan, steps: main.steps });
  return plan;
}

/**
 * Graphs that work on the same states, as plans for programs that are loaded with one `SharedBuffers`: the plan of the graph with most
 * states says how they lie, and the others follow it. In the order given.
 */
export function compileTogether(
  graphs: readonly Graph[],
  profile: DeviceProfile,
  options: Omit<CompileOptions, 'states'> = {},
): readonly Plan[] {
  const counts = graphs.map((graph) => order(graph).filter((node) => roleOf(node) === 'state').length);
  const first = counts.indexOf(Math.max(...counts));
  const leader = graphs[first];
  if (leader === undefined) return [];
  const states = compile(leader, profile, options);
  return graphs.map((graph, i) => (i === first ? states : compile(graph, profile, { ...options, states })));
}

/** The inputs that a run is given, also those that no output needs any more. */
function inputsOf(graph: Graph): readonly Node[] {
  return order(graph).filter((n) => roleOf(n) === 'input');
}

function refuseUnsupported(graph: Graph, profile: DeviceProfile): void {
  const refuse = (node: Node, what: string, advice: string): never => {
    throw new OpabiniaError(`${what} ${printAxes(node.type.axes)}`, {
      op: node.op.name,
      path: node.origin.path,
      place: node.origin.place,
      advice,
    });
  };
  for (const node of order(graph)) {
    if (node.type.dtype === 'f16' && !profile.f16)
      refuse(node, `the device '${profile.name}' has no f16`, "trace with dtype 'f32'");
    if (node.type.dtype === 'bf16' && node.op.kind !== 'source' && node.op.kind !== 'view' && node.op.kind !== 'join')
      refuse(node, 'bf16 is a format of checkpoints, not of computation:', "cast to 'f32' or 'f16' when loading");
  }
}
