// `npm run fuzz -- [--graphs N] [--seed S] [--minutes M] [--gradients [--no-gpu]] [--onnx] [--save DIR]`: random graphs, random passes, two judges; failures shrunk and saved.
import { randomInt } from 'node:crypto';
import { order } from '../../dsl/graph/walk.ts';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import fc from 'fast-check';
import { OpabiniaError } from '../../dsl/error.ts';
import { caseArbitrary, elementsOf, writeCase, type FuzzCase } from './case.ts';
import { GpuChild } from './child.ts';
import type { Outcome } from './judge.ts';
import { judgeGradients, withGradients } from './gradients.ts';
import { OnnxJudge } from './onnx.ts';

interface Options {
  readonly graphs: number;
  readonly seed: number;
  readonly minutes: number;
  readonly gradients?: true;
  readonly gpu: boolean;
  readonly onnx?: true;
  readonly save: string;
  readonly json?: string;
  /** One in so many graphs has over 65,535 workgroups. */
  readonly wide: number;
}

/** Elements of all tensors of a graph whose gradients are compared with differences: each is evaluated dozens of times. */
const mostDifferentiated = 20_000;

export interface Finding {
  readonly index: number;
  readonly judge: 'gpu' | 'onnx' | 'differences';
  readonly kind: Outcome['kind'];
  readonly what: string;
  /** How often a failure of the same kind came up. */
  times: number;
  readonly nodes: number;
  readonly file: string | undefined;
}

interface Judged {
  readonly judge: Finding['judge'];
  readonly outcome: Outcome;
}

/** Judges every graph; the figures and the findings. */
export async function fuzz(
  options: Options,
  say: (line: string) => void,
): Promise<{
  readonly graphs: number;
  readonly findings: readonly Finding[];
  readonly report: Record<string, unknown>;
}> {
  const [gpu, onnx] = [new GpuChild(), new OnnxJudge()];
  const arbitrary = caseArbitrary({ wide: options.wide });
  const end = performance.now() + options.minutes * 60_000;
  const started = performance.now();
  const counts: Record<string, number> = {
    ok: 0,
    refused: 0,
    onnxOk: 0,
    onnxRefused: 0,
    compared: 0,
    vacuous: 0,
    nodes: 0,
  };
  const add = (key: string, n = 1): void => {
    counts[key] = (counts[key] ?? 0) + n;
  };
  const [kinds, ops, templates] = [new Map<string, number>(), new Map<string, number>(), new Map<string, number>()];
  const findings: Finding[] = [];

  const judge = async (drawn: FuzzCase, index: number): Promise<Judged> => {
    const given = options.gradients === true ? withGradients(drawn) : drawn;
    if (given === undefined) return { judge: 'gpu', outcome: { kind: 'same' } };
    if (options.gradients === true && elementsOf(given) <= mostDifferentiated) {
      const { compared, wrong } = judgeGradients(given);
      add('differences', compared);
      if (wrong !== undefined) return { judge: 'differences', outcome: { kind: 'wrong', what: wrong } };
    }
    if (!options.gpu) return { judge: 'gpu', outcome: { kind: 'ok', compared: 0, vacuous: 0, templates: [] } };
    const outcome = await gpu.run(given);
    if (outcome.kind !== 'ok' && outcome.kind !== 'refused') return { judge: 'gpu', outcome };
    const second =
      options.onnx === true && given.kind !== 'wide' && given.kind !== 'nan' && given.kind !== 'empty'
        ? await onnx.run(given, index % 2 === 1)
        : undefined;
    if (second === undefined) return { judge: 'gpu', outcome };
    if (second.kind === 'ok' || second.kind === 'refused') {
      add(second.kind === 'ok' ? 'onnxOk' : 'onnxRefused');
      return { judge: 'gpu', outcome };
    }
    return { judge: 'onnx', outcome: second };
  };

  let index = 0;
  for (; index < options.graphs && performance.now() < end; index++) {
    const seed = options.seed * 100_003 + index;
    const [given] = fc.sample(arbitrary, { numRuns: 1, seed });
    if (given === undefined) continue;
    count(kinds, given.kind);
    const nodes = order(given.graph);
    add('nodes', nodes.length);
    for (const node of nodes) count(ops, node.op.name);
    const { judge: by, outcome } = await judge(given, index);
    if (outcome.kind === 'ok' || outcome.kind === 'refused' || outcome.kind === 'same') {
      add(outcome.kind);
      if (outcome.kind === 'ok') {
        add('compared', outcome.compared);
        add('vacuous', outcome.vacuous);
        for (const template of outcome.templates) count(templates, template);
      }
    } else {
      const { what } = outcome;
      const known = findings.find(
        (finding) =>
          finding.kind === outcome.kind && finding.judge === by && signature(finding.what) === signature(what),
      );
      if (known !== undefined) known.times++;
      else findings.push(await shrunk(given, seed, index, by, outcome));
      say(`graph ${index} (seed ${seed}): ${by} ${outcome.kind}: ${what.split('\n')[0] ?? ''}`);
    }
    if ((index + 1) % 100 === 0)
      say(
        `${index + 1} graphs in ${((performance.now() - started) / 1000).toFixed(0)} s, ${counts['refused'] ?? 0} refused, ${findings.length} findings`,
      );
  }
  const lost = gpu.lost;
  gpu.close();
  onnx.close();
  const of = (map: ReadonlyMap<string, number>) => Object.fromEntries([...map].sort((a, b) => b[1] - a[1]));
  const report = {
    seed: options.seed,
    graphs: index,
    seconds: Math.round((performance.now() - started) / 1000),
    ...counts,
    processesLost: lost,
    kinds: of(kinds),
    ops: of(ops),
    templates: of(templates),
    findings,
  };
  return { graphs: index, findings, report };

  /** Smaller graphs that fail too, in any way but a refusal; saved with its feeds. */
  async function shrunk(
    given: FuzzCase,
    seed: number,
    at: number,
    by: Finding['judge'],
    outcome: Outcome,
  ): Promise<Finding> {
    let smallest = given;
    let last = outcome;
    await fc.check(
      fc.asyncProperty(arbitrary, async (smaller) => {
        const again = await judge(smaller, at);
        if (again.judge === by && !['ok', 'refused', 'same'].includes(again.outcome.kind)) {
          smallest = smaller;
          last = again.outcome;
          return false;
        }
        return true;
      }),
      { numRuns: 1, seed, interruptAfterTimeLimit: outcome.kind === 'hang' ? 200_000 : 60_000 },
    );
    const what = 'what' in last ? last.what : last.kind;
    // As it was judged, so that it fails again when it is read back.
    const file = save(
      (options.gradients === true && by === 'gpu' ? withGradients(smallest) : undefined) ?? smallest,
      [
        `${by}: ${last.kind}`,
        ...what.split('\n').slice(0, 6),
        `seed ${options.seed}, graph ${at}, of ${order(given.graph).length} nodes`,
      ],
      `${by}-${options.seed}-${at}`,
    );
    return {
      index: at,
      judge: by,
      kind: outcome.kind,
      what: 'what' in outcome ? outcome.what : outcome.kind,
      times: 1,
      nodes: order(smallest.graph).length,
      file,
    };
  }

  function save(given: FuzzCase, comments: readonly string[], name: string): string | undefined {
    const text = writeCase(given, comments);
    say(text.length > 6000 ? `${text.slice(0, 6000)}…` : text);
    if (text.length > 2e6) return undefined;
    mkdirSync(options.save, { recursive: true });
    writeFileSync(join(options.save, `${name}.txt`), text);
    return `${name}.txt`;
  }
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

/** A message without its numbers and names: what stays is the kind of failure. */
function signature(what: string): string {
  return (what.split('\n')[0] ?? '')
    .replace(/'[^']*'/g, '')
    .replace(/-?[\d.]+(e[-+]?\d+)?|NaN|Infinity/g, '')
    .slice(0, 60);
}

if (import.meta.main) {
  const number = (text: string): number => {
    const value = Number(text);
    if (!Number.isFinite(value) || value < 0)
      throw new OpabiniaError(`expected a number, found '${text}'`, { op: 'fuzz' });
    return value;
  };
  const command = new Command('fuzz')
    .description('random graphs on the GPU, against the interpreter and ONNX Runtime')
    .option('--graphs <n>', 'how many', number, 200)
    .option(
      '--seed <s>',
      'of the first graph; drawn anew where it is left out, and printed',
      number,
      randomInt(2 ** 31),
    )
    .option('--minutes <m>', 'stop after', number, 15)
    .option('--gradients', 'their gradients: on the GPU, and against central differences')
    .option('--no-gpu', 'gradients against central differences alone')
    .option('--onnx', 'ONNX Runtime as a second judge')
    .option('--save <dir>', 'where shrunk failures go', 'test/golden/fuzz')
    .option('--json <file>', 'the report as JSON')
    .option('--wide <n>', 'one in so many graphs has over 65,535 workgroups; 0: none', number, 500);
  try {
    const options = command.parse().opts<Options>();
    if (!options.gpu && options.gradients !== true)
      throw new OpabiniaError('without a GPU there is nothing to judge by', { op: 'fuzz', advice: 'add --gradients' });
    process.stdout.write(`seed ${options.seed}\n`);
    const { graphs, findings, report } = await fuzz(options, (line) => process.stdout.write(`${line}\n`));
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, undefined, 1)}\n`);
    const { ops: _ops, findings: _findings, ...figures } = report;
    process.stdout.write(`${JSON.stringify(figures)}\n${graphs} graphs, ${findings.length} findings\n`);
    process.exitCode = findings.length === 0 ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 2;
  }
}
