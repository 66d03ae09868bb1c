// The whole walk as text: each stage that changed something, the rules that fired, every cut with its reason, every kernel with its
// path, work and roofline time, and the memory plan.
import { printAxes } from '../dsl/axis/axis.ts';
import type { Graph, Node } from '../dsl/graph/graph.ts';
import { requireGraph } from '../dsl/graph/required.ts';
import { order } from '../dsl/graph/walk.ts';
import { print } from '../dsl/text/print.ts';
import { formatTable, type Column } from '../dsl/text/table.ts';
import { flopsOf } from './cost.ts';
import { compile, type Stage } from './compile.ts';
import type { PartialStatistics } from './products/partial-statistics.ts';
import type { Cut } from './fuse/group.ts';
import type { Plan, PlanDispatch } from './plan.ts';
import { requireProfile, type DeviceProfile } from './profile.ts';
import { attentionTile } from './schedule/attention-matrix.ts';
import { withoutMatrixUnits } from './schedule/matrix-unit-of.ts';
import type { Step } from './assembly/kernel-order.ts';

export interface ExplainOptions {
  /** The graph after every pass, not only what the pass did. */
  readonly graphs?: boolean;
  /** The WGSL of every kernel. */
  readonly shaders?: boolean;
}

/**
 * What the compiler does with a graph on a device of this profile, stage by stage. Throws `OpabiniaError` for what is no graph or no profile.
 * @example console.log(explain(graph, deviceProfile(await openDevice())))
 */
export function explain(graph: Graph, profile: DeviceProfile, options: ExplainOptions = {}): string {
  requireGraph('explain', graph);
  requireProfile('explain', profile);
  const stages: Stage[] = [];
  const plan = compile(graph, profile, { report: (stage) => stages.push(stage) });
  const lines = [
    `== trace      ${order(graph).length} nodes, ${graph.outputs.size} outputs, ${graph.updates.length} updates`,
  ];
  if (options.graphs === true) lines.push(print(graph));
  let nodes = order(graph).length;
  for (const stage of stages) {
    switch (stage.name) {
      case 'pass': {
        const after = order(stage.report.graph).length;
        const fired = [...stage.report.fired]
          .sort(([, a], [, b]) => b - a)
          .map(([rule, times]) => `${rule} ×${times}`)
          .join(', ');
        // Not «changed» by the count of nodes alone: a pass may replace as many as it makes.
        lines.push(
          fired === ''
            ? `== ${stage.report.pass.name.padEnd(10)} (unchanged)`
            : `== ${stage.report.pass.name.padEnd(10)} ${nodes} → ${after} nodes: ${fired}`,
        );
        if (options.graphs === true && fired !== '') lines.push(print(stage.report.graph));
        nodes = after;
        break;
      }
      case 'split':
        lines.push(
          `== load time  ${stage.split.load.outputs.size} tensors depend on parameters alone, ${order(stage.split.main).length} nodes remain in a run`,
        );
        break;
      case 'statistics':
        lines.push(...statisticsLines(stage.statistics));
        break;
      case 'group':
        if (stage.which === 'main') lines.push(...cutLines(stage.grouping.groups.length, stage.grouping.cuts));
        break;
      case 'schedule':
        break;
      case 'plan':
        lines.push(...planLines(stage.plan, stage.steps, profile));
        break;
      default:
        stage satisfies never;
    }
  }
  if (options.shaders === true) lines.push(...plan.kernels.map((k) => `== ${k.name}\n${k.wgsl}`));
  return lines.join('\n');
}

/** Norms between products by matrix units: what of them is left by the one and merged by the other, and why the rest have kernels. */
function statisticsLines({ parts, whole }: PartialStatistics): readonly string[] {
  if (parts.size + whole.length === 0) return [];
  const reasons = [...Map.groupBy(whole, (reason) => reason)].map(([reason, all]) => `${reason} ×${all.length}`);
  return [
    `== statistics of the rows of ${parts.size} values are left by the products that make them, and merged by those behind their norms${reasons.length === 0 ? '' : `; norms with kernels: ${reasons.join(', ')}`}`,
  ];
}

function cutLines(groups: number, cuts: readonly Cut[]): readonly string[] {
  const byReason = Map.groupBy(cuts, (cut) => cut.reason);
  const reasons = [...byReason]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([reason, all]) => `'${reason}' ×${all.length}`);
  return [
    `== group      ${groups} kernels${reasons.length === 0 ? '' : `; cut: ${reasons.join(', ')}`}`,
    ...cuts.slice(0, mostCuts).map((cut) => `   ${named(cut.from)} → ${named(cut.to)}${where(cut)}: ${cut.reason}`),
    ...(cuts.length > mostCuts ? [`   … ${cuts.length - mostCuts} more`] : []),
  ];
}

const mostCuts = 24;

/** `mul [b:1 n:577 d:1024]`: which of many nodes of one op it is. */
const named = (node: Node): string => `${node.op.name} ${printAxes(node.type.axes)}`;

function where(cut: Cut): string {
  const path = cut.from.origin.path || cut.to.origin.path;
  return path === '' ? '' : ` in ${path}`;
}

/**
 * Operations of a kernel, with those of values that it computes in place because nothing stores them, each once: a map kernel has the
 * arithmetic of all maps up to what it loads.
 */
function workOf({ group, flops }: Step, stored: ReadonlySet<Node>): number {
  let inPlace = 0;
  const seen = new Set<Node>(group.nodes);
  const visit = (node: Node): void => {
    for (const input of node.inputs) {
      const { kind } = input.op;
      if (seen.has(input) || stored.has(input) || kind === 'source' || kind === 'reduce' || kind === 'contract')
        continue;
      seen.add(input);
      inPlace += flopsOf(input);
      visit(input);
    }
  };
  for (const node of group.nodes) visit(node);
  return flops + inPlace;
}

/** The kernels of a dispatch. */
const apart = (step: Step): readonly Step[] => step.together ?? [step];

function planLines(plan: Plan, steps: readonly Step[], profile: DeviceProfile): readonly string[] {
  const total = plan.dispatches.reduce((sum, d) => sum + roofline(d, profile), 0);
  const single = steps.flatMap(apart);
  const stored = new Set(single.flatMap((step) => [...step.group.nodes]));
  const rows = plan.dispatches.map((d, i) => {
    const step = steps[i];
    const own = step === undefined ? [] : apart(step);
    const slots = step?.kernel.slots ?? [];
    const written = slots.filter((slot) => slot.write).length;
    return [
      String(i),
      d.label,
      [...new Set(own.map(({ kernel }) => kernel.template))].join(' | '),
      String(slots.length - written),
      String(written),
      quantity(d.bytes, 'B'),
      quantity(
        own.reduce((sum, one) => sum + workOf(one, stored), 0),
        'FLOP',
      ),
      (1000 * roofline(d, profile)).toFixed(3),
      d.path,
    ];
  });
  const { memory } = plan;
  return [
    `== plan       ${plan.dispatches.length} dispatches a run, ${plan.load.length} at load, ${plan.kernels.length} different kernels; roofline of ${profile.name}: ${(1000 * total).toFixed(2)} ms`,
    formatTable(kernelColumns, rows),
    ...matrixLines(single, profile),
    `== memory     activations ${quantity(memory.activations, 'B')} (${quantity(memory.liveBound, 'B')} live at once), parameters ${quantity(memory.parameters, 'B')}, computed at load ${quantity(memory.loaded, 'B')}, states ${quantity(memory.states, 'B')}, inputs and outputs ${quantity(memory.inputsAndOutputs, 'B')}`,
  ];
}

/** Which products the device's matrix units make, and why not the others; nothing where it has none. */
function matrixLines(steps: readonly Step[], profile: DeviceProfile): readonly string[] {
  const units = profile.matrices ?? [];
  if (units.length === 0) return [];
  const reasons = steps.flatMap((step): readonly string[] => {
    const { group, kernel, template } = step;
    if (group.template !== 'contract' && group.template !== 'attention') return [];
    if (kernel.matrices === true) return ['by matrix units'];
    const why =
      group.template === 'contract' ? withoutMatrixUnits(group.contract, profile) : attentionTile(group, profile);
    return [typeof why === 'string' ? why : `'${template}' comes first`];
  });
  const tally = [...Map.groupBy(reasons, (reason) => reason)].map(([reason, all]) => `${reason} ×${all.length}`);
  const list = units.map(({ m, n, k, from, to }) => `${m}×${n}×${k} ${from} → ${to}`).join(', ');
  return [`== matrices   ${list}; products: ${tally.length === 0 ? 'none' : tally.join(', ')}`];
}

const kernelColumns = [
  { title: 'kernel', align: 'right' },
  { title: 'computes' },
  { title: 'template' },
  { title: 'reads', align: 'right' },
  { title: 'writes', align: 'right' },
  { title: 'memory', align: 'right' },
  { title: 'work', align: 'right' },
  { title: 'ms', align: 'right' },
  { title: 'path' },
] as const satisfies readonly Column[];

/** Seconds that a kernel takes at least: its arithmetic or its memory traffic at the device's full rate. */
function roofline(d: PlanDispatch, profile: DeviceProfile): number {
  return Math.max(d.flops / profile.flopsPerSecond, d.bytes / profile.bytesPerSecond);
}

function quantity(value: number, unit: string): string {
  const power = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${power === 0 ? value : (value / 1000 ** power).toPrecision(3)} ${['', 'k', 'M', 'G', 'T'][power] ?? ''}${unit}`;
}
