// `npm run attack -- [--minutes M] [--seed S] [--only KIND=COUNT …] [--journal FILE]`: mutated files against the readers, each kind in a
// process of its own that is watched, until the time is over or each kind has had its count; findings on stdout. With a journal, a run
// that was ended goes on where it was.
import { fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { worse, type Cost } from './meter.ts';
import { kinds, type Finding, type Kind } from './mutate.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string' },
    only: { type: 'string', multiple: true },
    journal: { type: 'string' },
  },
});

interface Journal {
  readonly seed: number;
  /** Files of each kind that were taken. */
  readonly done: Partial<Record<Kind, number>>;
  readonly findings: Finding[];
  /** What the dearest files of each kind cost. */
  readonly costs: Partial<Record<Kind, Cost>>;
}

const journal: Journal =
  values.journal !== undefined && existsSync(values.journal)
    ? (JSON.parse(readFileSync(values.journal, 'utf8')) as Journal)
    : { seed: Number(values.seed ?? randomInt(2 ** 31)), done: {}, findings: [], costs: {} };
const keep = (): void => {
  if (values.journal !== undefined) writeFileSync(values.journal, JSON.stringify(journal));
};

/** How many of each kind one turn takes: about a second of each. */
const turn = {
  header: 4000,
  gguf: 1000,
  pickle: 1000,
  config: 1000,
  tokenizer: 50,
  pieces: 50,
  graph: 1000,
  image: 400,
} as const satisfies Record<Kind, number>;
const wanted = new Map(
  (values.only ?? kinds.map((kind) => `${kind}=Infinity`)).map((text) => {
    const [name, count] = text.split('=');
    const kind = kinds.find((one) => one === name);
    if (kind === undefined || !(Number(count ?? Infinity) > 0))
      throw new TypeError(`--only ${text}: known are ${kinds.join(', ')}`);
    return [kind, Number(count ?? Infinity)] as const;
  }),
);

/** No file takes longer: a tokenizer may use up its time for opening and for its text, each twice. Starting a process is not a file. */
const silence = 60_000;
const starting = 600_000;
const folder = mkdtempSync(join(tmpdir(), 'opabinia-attacks-'));
const end = performance.now() + Number(values.minutes) * 60_000;

/** Files `from … until − 1` of a kind in a process of their own; gives the number that it came to. */
async function take(kind: Kind, from: number, until: number): Promise<number> {
  const place = join(folder, kind);
  writeFileSync(place, Buffer.alloc(8));
  const index = (): number => Number(readFileSync(place).readBigUInt64LE());
  const child = fork(join(import.meta.dirname, 'worker.ts'), [journal.seed, kind, from, until, place].map(String), {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr?.on('data', (bytes) => (said = `${said}${String(bytes)}`.slice(-2000)));
  let done = false;
  let patience = starting;
  let [last, since] = [-1, performance.now()];
  child.on('message', (finding: Finding & { readonly costs?: Cost }) => {
    if (finding.costs !== undefined) journal.costs[kind] = worse(journal.costs[kind], finding.costs);
    if (finding.what === 'done') done = true;
    else if (finding.what === 'ready') [patience, since] = [silence, performance.now()];
    else found(finding);
  });
  const watch = setInterval(() => {
    const now = index();
    if (now !== last) [last, since] = [now, performance.now()];
    else if (performance.now() - since > patience) child.kill('SIGKILL');
  }, 1000);
  const [code, signal] = await new Promise<readonly [number | null, string | null]>((resolve) =>
    child.once('close', (...ending) => resolve(ending)),
  );
  clearInterval(watch);
  if (done) return until;
  const at = Math.max(from, index());
  found({
    kind,
    index: at,
    what: signal === 'SIGKILL' ? 'hangs, or was killed for its memory' : `ends the process: ${signal ?? code} ${said}`,
  });
  return at + 1;
}

function found(finding: Finding): void {
  journal.findings.push(finding);
  console.log(`${finding.kind} ${finding.index}: ${finding.what}`);
}

const isOver = (kind: Kind): boolean => (journal.done[kind] ?? 0) >= (wanted.get(kind) ?? 0);
console.log(`seed ${journal.seed}`);
while (performance.now() < end && kinds.some((kind) => !isOver(kind)))
  for (const kind of kinds) {
    if (isOver(kind) || performance.now() >= end) continue;
    const from = journal.done[kind] ?? 0;
    // Starting a process takes a second: what is asked for by count is taken in longer turns.
    const until = Math.min(wanted.get(kind) ?? 0, from + turn[kind] * (values.only === undefined ? 1 : 10));
    journal.done[kind] = await take(kind, from, until);
    keep();
  }
rmSync(folder, { recursive: true });
for (const [kind, { seconds, grown, child }] of Object.entries(journal.costs))
  console.log(
    `${kind}: at most ${seconds.toFixed(2)} s, ${grown.toFixed(0)} MiB${child > 0 ? `, ${child.toFixed(0)} MiB in a process of its own` : ''}`,
  );
console.log(
  `${Object.entries(journal.done)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ')}; ${journal.findings.length} findings`,
);
process.exitCode = journal.findings.length > 0 ? 1 : 0;
