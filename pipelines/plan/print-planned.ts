// What `planModel` found out, as tables and as JSON.
import { desktopGpu } from '../../compiler/profile.ts';
import { formatCount, formatTable, type Column } from '../../dsl/text/table.ts';
import { printBytes } from '../../runtime/device/memory-budget.ts';
import { plural } from '../../dsl/text/plural.ts';
import type { PlannedModel, PlanOptions } from './plan-model.ts';

/** Everything as text. */
export function printPlanned(planned: PlannedModel, options: PlanOptions): string {
  const right = (title: string): Column => ({ title, align: 'right' });
  const { programs, parameters, memory, parts, towers } = planned;
  const others = parts.slice(towers);
  const sum = (values: Iterable<number>): number => [...values].reduce((all, value) => all + value, 0);
  const flops = (part: string): readonly string[] =>
    programs.map((program) => formatCount(program.flops.get(part) ?? 0));
  return [
    `${planned.name}, ${options.dtype}, a context of ${plural(planned.context, 'token')}, a prompt of ${planned.prompt}, ${plural(options.images, 'image')}; compiled for ${options.profile?.name ?? `a ${desktopGpu.name}`}, batch 1; FLOP are those of its kernels, after all passes`,
    '',
    formatTable(
      [{ title: 'part' }, right('parameters'), ...programs.map((program) => right(`FLOP, ${program.name}`))],
      [
        ...parts.map((part) => [part, (parameters.get(part) ?? 0).toLocaleString('en-US'), ...flops(part)]),
        [
          'all',
          sum(parameters.values()).toLocaleString('en-US'),
          ...programs.map((program) => formatCount(sum(program.flops.values()))),
        ],
        [
          'without the towers',
          sum(others.map((part) => parameters.get(part) ?? 0)).toLocaleString('en-US'),
          ...programs.map((program) => formatCount(sum(others.map((part) => program.flops.get(part) ?? 0)))),
        ],
      ],
    ),
    '',
    formatTable(
      [{ title: 'memory' }, right('bytes')],
      [
        ...memory.items.map((item) => [item.name, printBytes(item.bytes)]),
        ['while running', printBytes(memory.running)],
        ['peak, while loading', printBytes(memory.peak)],
      ],
    ),
    '',
    formatTable(
      [{ title: 'program' }, right('kernels'), right('dispatches'), right('at load'), right('compiled in')],
      programs.map(({ name, plan, seconds }) => [
        name,
        String(plan.kernels.length),
        String(plan.dispatches.length),
        String(plan.load.length),
        `${seconds.toFixed(1)} s`,
      ]),
    ),
    '',
    `traced and compiled in ${planned.seconds.toFixed(1)} s, with at most ${printBytes(planned.hostBytes)} of host memory`,
  ].join('\n');
}

/** The figures alone. */
export function plannedJson({ name, parameters, programs, memory, seconds, hostBytes }: PlannedModel): object {
  return {
    name,
    parameters: Object.fromEntries(parameters),
    seconds,
    hostBytes,
    memory,
    programs: programs.map((program) => ({
      name: program.name,
      seconds: program.seconds,
      kernels: program.plan.kernels.length,
      dispatches: program.plan.dispatches.length,
      load: program.plan.load.length,
      flops: Object.fromEntries(program.flops),
      memory: program.plan.memory,
    })),
  };
}
