// `npm run bench`: the race against other WebGPU libraries on the same driver in the same run.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { nearestNames, OpabiniaError } from '../dsl/error.ts';
import { cases, selectCases } from './cases/index.ts';
import { peerNames, type PeerName } from './peers/protocol.ts';
import { Race } from './race.ts';
import { writeReport } from './report.ts';
import { fileResults, parseResults, schemaNumber, type CaseResult, type Results } from './results.ts';
import { racePrint } from './table.ts';

interface Options {
  readonly only?: readonly string[];
  readonly peer?: readonly string[];
  readonly json?: string;
  readonly device: string;
  readonly list?: boolean;
  readonly quick?: boolean;
  readonly budget: string;
  readonly patience: string;
}

const folder = join(import.meta.dirname, 'results');

function printList(): void {
  console.log('cases');
  for (const one of cases) console.log(`  ${one.name.padEnd(26)}  ${one.about}`);
  console.log(`peers\n  ${peerNames.join(', ')}`);
}

function selectPeers(names: readonly string[] | undefined): readonly PeerName[] {
  for (const name of names ?? []) {
    if (peerNames.some((known) => known === name)) continue;
    throw new OpabiniaError(`there is no peer '${name}'; there are ${peerNames.join(', ')}`, {
      op: 'bench',
      advice: `nearest: ${nearestNames(name, peerNames)[0] ?? ''}`,
    });
  }
  // Ours always runs: without it there is no race, and it measures the roofline.
  return names === undefined ? peerNames : peerNames.filter((name) => name === 'ours' || names.includes(name));
}

/** Vulkan's loader picks drivers by name, for all peers alike. */
function environmentOf(device: string): Record<string, string> {
  if (device === 'default') return {};
  return { VK_LOADER_DRIVERS_SELECT: device === 'software' ? '*lvp*' : device };
}

function seconds(text: string, name: string): number {
  const value = Number(text);
  if (!(value > 0))
    throw new OpabiniaError(`--${name} is '${text}'`, { op: 'bench', advice: 'give a number of seconds above 0' });
  return value;
}

function commit(): string | undefined {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], {
      cwd: import.meta.dirname,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}

async function main(options: Options): Promise<void> {
  if (options.list === true) return printList();
  const named = selectCases(options.only ?? []);
  const quick = options.quick === true;
  const race = new Race({
    scale: quick ? 'quick' : 'full',
    peers: selectPeers(options.peer),
    budget: seconds(options.budget, 'budget'),
    patience: seconds(options.patience, 'patience'),
    environment: environmentOf(options.device),
    report: (line) => console.error(line),
  });
  try {
    const facts = await race.open();
    const ours = facts.get('ours');
    if (ours?.adapter === undefined)
      throw new OpabiniaError(`our own side cannot start: ${race.absence('ours') ?? 'no device'}`, {
        op: 'bench',
        advice: '`npm run doctor`',
      });
    console.error(`${ours.adapter}, ${ours.driver ?? ''}`);
    const roofline = await race.roofline();
    const isSpared = ours.software === true && !quick && options.only === undefined;
    const chosen = named.filter((one) => !(isSpared && 'hardware' in one && one.hardware === true));
    const done: CaseResult[] = [];
    const results = (): Results => {
      const made = commit();
      return {
        schema: schemaNumber,
        quick,
        date: new Date().toISOString(),
        ...(made === undefined ? {} : { commit: made }),
        adapter: ours.adapter ?? '',
        driver: ours.driver ?? '',
        software: ours.software ?? false,
        machine: {
          cpu: cpus()[0]?.model ?? 'unknown',
          cores: availableParallelism(),
          memory: totalmem(),
          platform: `${process.platform}-${process.arch}`,
          node: process.version,
          load: loadavg()[0] ?? 0,
        },
        versions: Object.fromEntries([...facts].map(([name, { version }]) => [name, version])),
        roofline,
        cases: [...done],
      };
    };
    for (const [i, one] of chosen.entries()) {
      console.error(`[${i + 1}/${chosen.length}] ${one.name}: ${one.about}`);
      done.push(await race.run(one));
      // A run of an hour that is cut off keeps what it has.
      if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(results(), undefined, 1)}\n`);
    }
    const all = parseResults(JSON.stringify(results()), 'these results');
    console.log(racePrint(all));
    if (quick) console.log('\nquick: small sizes, few runs; this shows that everything works and measures nothing');
    else if (options.json === undefined && options.only === undefined && options.peer === undefined) {
      console.log(`\n${fileResults(folder, all)}`);
      for (const path of writeReport()) console.log(path);
    }
  } finally {
    race.close();
  }
}

const program = new Command('bench')
  .description('the race against other WebGPU libraries, on the same driver in the same run')
  .option('--only <name...>', 'these cases; the first words of a name select all that begin so')
  .option('--peer <name...>', `these peers, besides ours: ${peerNames.join(', ')}`)
  .option('--json <file>', 'write the results here; a whole race without it goes to bench/results')
  .option(
    '--device <driver>',
    "Vulkan driver for all peers: default, software, or a pattern of the loader's, such as *nvidia*",
    'default',
  )
  .option('--list', 'print cases and peers')
  .option('--quick', 'small sizes and two runs: does everything work? Measures nothing')
  .option('--budget <seconds>', 'time of timed runs for a case and a peer', '20')
  .option('--patience <seconds>', 'how long loading and a first run may take before a peer is given up', '600')
  .action(main);

try {
  await program.parseAsync();
  process.exit(0);
} catch (error) {
  console.error(error instanceof OpabiniaError ? error.message : error);
  process.exit(error instanceof OpabiniaError ? 1 : 2);
}
