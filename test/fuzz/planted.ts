// `npm run fuzz:planted [-- --gradients]`: plants one mistake after another into the compiler, or into the rules of gradients, and counts the random graphs until the fuzzer sees it.
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import fc from 'fast-check';
import { caseArbitrary } from './case.ts';
import { GpuChild } from './child.ts';
import { mutants } from './mutants.ts';
import { gradientMutants } from './mutants-gradient.ts';
import { plantedGradients } from './planted-gradients.ts';

interface Options {
  readonly graphs: number;
  readonly seed: number;
  readonly minutes: number;
  readonly json?: string;
  readonly only?: string;
  readonly share: number;
  readonly gradients?: true;
}

interface Score {
  readonly name: string;
  readonly what: string;
  /** The number of graphs after which it was seen, 1 for the first. */
  caughtAfter?: number;
  how?: string;
  message?: string;
  /** Graphs, until it was caught, in whose plan it changed something; each was run on the GPU, up to a limit. */
  applied: number;
  runs: number;
  /** Of the first graphs, in how many it changes the plan. */
  appliedInFirst: number;
  /** Plans with a kernel that the driver does not take: they do not count. */
  invalid?: number;
}

/** A mistake that this many runs do not show is not looked for any further. */
const mostRuns = 250;

const number = (text: string): number => Number(text);
const options = new Command('planted')
  .description('how many planted miscompiles the fuzzer catches, and after how many graphs')
  .option('--graphs <n>', 'at most', number, 2000)
  .option('--seed <s>', 'of the first graph', number, 1)
  .option('--minutes <m>', 'stop after', number, 20)
  .option('--json <file>', 'the report as JSON')
  .option('--only <name>', 'one mutant')
  .option('--gradients', 'mistakes in the rules of gradients, which central differences must see')
  .option('--share <n>', 'graphs over which the share of changed plans is counted', number, 100)
  .parse()
  .opts<Options>();

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};
if (options.gradients === true) process.exit(gradients());
const gpu = new GpuChild();
const arbitrary = caseArbitrary();
const chosen = mutants.filter(({ name }) => options.only === undefined || name === options.only);
const scores = chosen.map(({ name, what }): Score => ({ name, what, applied: 0, runs: 0, appliedInFirst: 0 }));
const started = performance.now();
let graphs = 0;
let skipped = 0;
while (graphs < options.graphs && performance.now() - started < options.minutes * 60_000) {
  const waiting = scores.filter((score) => score.caughtAfter === undefined && score.runs < mostRuns);
  if (waiting.length === 0 && graphs >= options.share) break;
  const [given] = fc.sample(arbitrary, { numRuns: 1, seed: options.seed * 100_003 + graphs });
  graphs++;
  if (given === undefined) continue;
  let right: boolean | undefined;
  for (const score of graphs <= options.share ? scores : waiting) {
    if (right === false) break;
    const live = score.caughtAfter === undefined && score.runs < mostRuns;
    const outcome = await gpu.run(given, { mutant: score.name, dry: !live });
    if (outcome.kind === 'same' || outcome.kind === 'refused') continue;
    if (graphs <= options.share) score.appliedInFirst++;
    if (!live) continue;
    score.applied++;
    score.runs++;
    if (outcome.kind === 'ok') continue;
    // A kernel that the driver refuses is a mistake of the mutant: compilers make wrong kernels, rarely ungrammatical ones.
    if (outcome.kind === 'wrong' && outcome.what.includes('does not compile')) {
      score.runs--;
      score.invalid = (score.invalid ?? 0) + 1;
      continue;
    }
    // Only a graph that the compiler without the mistake gets right counts.
    right ??= (await gpu.run(given)).kind === 'ok';
    if (!right) {
      skipped++;
      continue;
    }
    score.caughtAfter = graphs;
    score.how =
      outcome.kind === 'compile'
        ? 'verifier'
        : outcome.kind === 'wrong' && outcome.what.startsWith('a kernel wrote')
          ? 'sentinel'
          : outcome.kind === 'wrong' && /^(output|state) '/.test(outcome.what)
            ? 'values'
            : outcome.kind === 'wrong'
              ? 'error of the runtime'
              : outcome.kind;
    score.message = (outcome.what.split('\n')[0] ?? '').slice(0, 200);
    say(`${String(graphs).padStart(5)}  ${score.name.padEnd(34)} ${score.how}: ${score.message}`);
  }
  if (graphs % 100 === 0)
    say(
      `${graphs} graphs, ${((performance.now() - started) / 1000).toFixed(0)} s, waiting for: ${waiting.map((s) => `${s.name} (${s.applied})`).join(', ')}`,
    );
}
gpu.close();
const caught = scores.filter((score) => score.caughtAfter !== undefined);
const counts = caught.map((score) => score.caughtAfter ?? 0).sort((a, b) => a - b);
const report = {
  planted: scores.length,
  caught: caught.length,
  graphs,
  seed: options.seed,
  seconds: Math.round((performance.now() - started) / 1000),
  medianGraphs: counts[counts.length >> 1],
  mostGraphs: counts.at(-1),
  skipped,
  missed: scores
    .filter((score) => score.caughtAfter === undefined)
    .map(({ name, applied, invalid }) => ({ name, applied, invalid })),
  scores,
};
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, undefined, 1)}\n`);
const { scores: _scores, ...figures } = report;
say(JSON.stringify(figures));
process.exitCode = caught.length === scores.length ? 0 : 1;

/** The same for the rules of gradients, without a GPU; the exit status. */
function gradients(): number {
  const planted = gradientMutants.filter(({ name }) => options.only === undefined || name === options.only);
  const began = performance.now();
  const seen = plantedGradients(planted, options.seed * 100_003, options.graphs, ({ name }, { caughtAfter, message }) =>
    say(`${String(caughtAfter).padStart(5)}  ${name.padEnd(56)} ${message}`),
  );
  const counts = [...seen.values()].map(({ caughtAfter }) => caughtAfter).sort((a, b) => a - b);
  const report = {
    planted: planted.length,
    caught: seen.size,
    seed: options.seed,
    seconds: Math.round((performance.now() - began) / 1000),
    medianGraphs: counts[counts.length >> 1],
    mostGraphs: counts.at(-1),
    missed: planted.filter((mutant) => !seen.has(mutant)).map(({ name }) => name),
  };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, undefined, 1)}\n`);
  say(JSON.stringify(report));
  return seen.size === planted.length ? 0 : 1;
}
