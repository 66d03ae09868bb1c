// What a GPU does with kernels written by hand, in many designs: the evidence by which the compiler's templates are chosen.
// `node bench/probe/run.ts [--only SECTION…] [--quick] [--json FILE]`
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import { formatTable } from '../../dsl/text/table.ts';
import type { DeviceFacts } from '../../runtime/device/device.ts';
import { arithmetic, matrixUnits } from './arithmetic.ts';
import { copy, read } from './bandwidth.ts';
import { openGpu, type Gpu } from './gpu.ts';
import { launches } from './launches.ts';
import { productDesigns, products } from './products.ts';
import { messageOf, type Row, type Section } from './section.ts';
import { vectorF16 } from './vector-f16.ts';
import { vectorQ4 } from './vector-q4.ts';

const sections: readonly Section[] = [
  copy,
  read,
  arithmetic,
  matrixUnits,
  products,
  productDesigns,
  vectorF16,
  vectorQ4,
  launches,
];

interface Outcome {
  readonly seconds: number;
  readonly rows: readonly Row[];
  /** Why it was left out. */
  readonly absent?: string;
  /** What ended it early. */
  readonly failure?: string;
}

/** A sweep takes minutes; what it has is written this often. */
const millisecondsToKeep = 5000;

function chosenOf(names: readonly string[]): readonly Section[] {
  const known = sections.map(({ name }) => name);
  const stranger = names.find((name) => !known.includes(name));
  if (stranger !== undefined)
    throw new OpabiniaError(`there is no section '${stranger}'; there are ${known.join(', ')}`, {
      op: 'probe',
      advice: `nearest: ${nearestNames(stranger, known)[0] ?? ''}`,
    });
  return sections.filter(({ name, isLong }) => (names.length === 0 ? isLong !== true : names.includes(name)));
}

function absenceOf(gpu: Gpu, section: Section): string | undefined {
  return gpu.has('timestamp-query') ? section.absent?.(gpu) : 'the device has no timestamp-query';
}

/** The best first, and within the same group if there are groups; those without a number last. */
function sorted(rows: readonly Row[], { best, within }: Section): readonly Row[] {
  if (best === undefined) return rows;
  const groups = [...new Set(rows.map((row) => row[within ?? '']))];
  const rank = (row: Row): number => groups.indexOf(row[within ?? '']);
  const value = (row: Row): number => Number(row[best] ?? -1);
  return rows.toSorted((a, b) => rank(a) - rank(b) || value(b) - value(a));
}

async function measure(gpu: Gpu, section: Section, quick: boolean, keep: (outcome: Outcome) => void): Promise<Outcome> {
  const began = performance.now();
  const rows: Row[] = [];
  let kept = began;
  const outcome = (): Outcome => ({
    seconds: (performance.now() - began) / 1000,
    rows: sorted(rows, section),
  });
  try {
    for await (const row of section.measure(gpu, quick)) {
      rows.push(row);
      if (performance.now() - kept < millisecondsToKeep) continue;
      keep(outcome());
      kept = performance.now();
    }
    return outcome();
  } catch (error) {
    return { ...outcome(), failure: messageOf(error) };
  } finally {
    gpu.free();
  }
}

function tableOf(rows: readonly Row[]): string {
  const titles = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  // What is said of few rows, at length, comes last.
  const ordered = [...titles.filter((title) => title !== 'remark'), ...titles.filter((title) => title === 'remark')];
  const columns = ordered.map((title) => ({
    title,
    align: rows.some((row) => typeof row[title] === 'number') ? ('right' as const) : ('left' as const),
  }));
  const cell = (value: string | number | undefined): string =>
    typeof value === 'number' ? String(Number(value.toPrecision(4))) : (value ?? '');
  return formatTable(
    columns,
    rows.map((row) => ordered.map((title) => cell(row[title]))),
  );
}

function printFacts({ name, driver, subgroups, matrices }: DeviceFacts): void {
  const units = matrices.map(({ m, n, k, from, to }) => `${m}x${n}x${k} ${from}→${to}`);
  console.log(`${name}, ${driver}`);
  console.log(`subgroups: ${subgroups === undefined ? 'none' : `${subgroups.least} to ${subgroups.most} lanes`}`);
  console.log(`matrix units: ${units.length === 0 ? 'none' : units.join(', ')}`);
}

function print({ name, about }: Section, { rows, seconds, absent, failure }: Outcome): void {
  if (absent !== undefined) return console.log(`\n${name}: left out, ${absent}`);
  console.log(`\n${name}: ${about} (${seconds.toFixed(1)} s)`);
  if (rows.length > 0) console.log(tableOf(rows));
  if (failure !== undefined) console.log(`ended early: ${failure}`);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: 'string', multiple: true, default: [] },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const { quick, json } = values;
  // `--only a b`: the parser takes the first for the option's, and the rest for words of their own.
  const chosen = chosenOf([...values.only, ...positionals]);
  const gpu = await openGpu();
  const { facts } = gpu;
  const outcomes: Record<string, Outcome> = {};
  const date = new Date().toISOString();
  const keep = (name: string, outcome: Outcome): void => {
    outcomes[name] = outcome;
    // A run that is cut off keeps what it has.
    if (json !== undefined)
      writeFileSync(json, `${JSON.stringify({ date, quick, facts, sections: outcomes }, null, 1)}\n`);
  };
  printFacts(facts);
  for (const section of chosen) {
    const absent = absenceOf(gpu, section);
    const outcome =
      absent === undefined
        ? await measure(gpu, section, quick, (part) => keep(section.name, part))
        : { seconds: 0, rows: [], absent };
    keep(section.name, outcome);
    print(section, outcome);
    if (gpu.isLost) break;
  }
  if (quick) console.log('\nquick: small sizes; this shows that everything works and measures nothing');
  gpu.close();
}

try {
  await main();
} catch (error) {
  console.error(error instanceof OpabiniaError || error instanceof TypeError ? error.message : error);
  process.exitCode = 1;
}
