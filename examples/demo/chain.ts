// The chain of passes as a table: what each changed, what became one kernel, and why edges were cut.
import type { Stage } from '../../compiler/compile.ts';
import { order, type Graph } from '../../dsl/index.ts';
import { formatTable } from '../../dsl/text/table.ts';

const times = (count: number, what: string): string => `${what}${count === 1 ? '' : ` ×${count}`}`;
const nodes = (graph: Graph): number => order(graph).length;

/** The most frequent first, at most `most` of them. */
function tally(names: Iterable<readonly [string, number]>, most: number): string {
  const sorted = [...names].sort(([, a], [, b]) => b - a);
  const rest = sorted.slice(most).reduce((sum, [, count]) => sum + count, 0);
  return [
    ...sorted.slice(0, most).map(([name, count]) => times(count, name)),
    ...(rest > 0 ? [`${rest} more`] : []),
  ].join(', ');
}

function count(names: Iterable<string>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/** One line a stage, from the stages that `compile` reported. */
export function chainTable(traced: Graph, stages: readonly Stage[]): string {
  const rows: string[][] = [['trace', String(nodes(traced)), '', 'the function ran once on symbolic tensors']];
  for (const stage of stages) {
    switch (stage.name) {
      case 'pass': {
        const { pass, graph, fired, milliseconds } = stage.report;
        rows.push([
          pass.name,
          String(nodes(graph)),
          milliseconds.toFixed(0),
          fired.size === 0 ? 'nothing to do' : tally(fired, 5),
        ]);
        break;
      }
      case 'split':
        rows.push([
          'load time',
          `${nodes(stage.split.load)}+${nodes(stage.split.main)}`,
          '',
          `${stage.split.load.outputs.size} tensors depend on parameters alone: computed once, when they are loaded`,
        ]);
        break;
      case 'statistics': {
        const { parts } = stage.statistics;
        if (parts.size > 0)
          rows.push([
            'statistics',
            String(parts.size),
            '',
            'values of whose rows the products that make them leave statistics, for the norms behind',
          ]);
        break;
      }
      case 'group': {
        const { groups, joins } = stage.grouping;
        if (groups.length === 0) break;
        const made = groups.reduce((sum, group) => sum + group.nodes.size, 0);
        const placed = joins.reduce((sum, join) => sum + join.parts.size, 0);
        rows.push([
          `group, ${stage.which}`,
          String(groups.length),
          '',
          `${made} nodes in ${groups.length} kernels: ${tally(count(groups.map((group) => group.template)), 9)}${placed === 0 ? '' : `; ${placed} parts of concatenations written in place`}`,
        ]);
        break;
      }
      case 'schedule': {
        const { steps } = stage.assembly;
        if (steps.length > 0)
          rows.push([
            `schedule, ${stage.which}`,
            String(steps.length),
            '',
            tally(count(steps.map((step) => step.template)), 9),
          ]);
        break;
      }
      case 'plan': {
        const { kernels, dispatches, load, memory } = stage.plan;
        const spare =
          memory.liveBound === 0
            ? ''
            : `, ${(memory.activations / memory.liveBound).toFixed(2)} × what is live at once`;
        rows.push([
          'plan',
          String(dispatches.length),
          '',
          `${kernels.length} different kernels, ${dispatches.length} dispatches a run and ${load.length} at load; ${(memory.activations / 2 ** 20).toFixed(1)} MiB of activations${spare}`,
        ]);
        break;
      }
      default:
        stage satisfies never;
    }
  }
  return formatTable(
    [{ title: 'stage' }, { title: 'size', align: 'right' }, { title: 'ms', align: 'right' }, { title: 'what it did' }],
    rows,
  );
}

/** The reasons why edges were cut, with how often and one example each. */
export function cutTable(stages: readonly Stage[]): string {
  const cuts = stages.flatMap((stage) => (stage.name === 'group' && stage.which === 'main' ? stage.grouping.cuts : []));
  const byReason = Map.groupBy(cuts, (cut) => cut.reason);
  const rows = [...byReason]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([reason, all]) => {
      const [first] = all;
      return [
        String(all.length),
        reason,
        first === undefined
          ? ''
          : `${first.from.op.name} → ${first.to.op.name} in ${first.from.origin.path || 'the model'}`,
      ];
    });
  return formatTable([{ title: 'cuts', align: 'right' }, { title: 'reason' }, { title: 'for example' }], rows);
}
