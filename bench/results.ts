// What a race writes down: one JSON file a run, by adapter, driver and date, with a schema that older files are refused by.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { OpabiniaError } from '../dsl/error.ts';

/** Changes whenever a field does. */
export const schemaNumber = 1;

const deviation = z.object({ largest: z.number(), relative: z.number() });
const spread = z.object({
  count: z.int(),
  least: z.number(),
  lower: z.number(),
  median: z.number(),
  upper: z.number(),
});

const measured = z.object({
  status: z.literal('measured'),
  /** Milliseconds of a run, inputs and outputs on the device unless `notes` say otherwise. */
  time: spread,
  /** Milliseconds of the first run, in which drivers compile. */
  first: z.number(),
  dispatches: z.int().optional(),
  /** Largest resident size of the peer's process while it ran, bytes. */
  processPeak: z.int().optional(),
  /** Bytes on the device, where the peer can tell. */
  deviceBytes: z.int().optional(),
  /** Absent where the judge was not asked. */
  error: deviation.optional(),
  /** Figures of a run besides its time, e.g. tokens per second. */
  rates: z.record(z.string(), z.number()).optional(),
  notes: z.array(z.string()),
});
const failed = z.object({ status: z.literal('failed'), message: z.string() });
/** It ran, and its results are not those of the interpreter: not timed. */
const wrong = z.object({ status: z.literal('wrong'), message: z.string() });
/** It was never asked to. */
const left = z.object({ status: z.literal('left'), message: z.string() });
const peerResult = z.discriminatedUnion('status', [measured, failed, wrong, left]);

const caseResult = z.object({
  name: z.string(),
  about: z.string(),
  /** Of the graph as written, and bytes that any implementation must move: inputs, parameters, outputs. */
  flops: z.number(),
  bytes: z.number(),
  /** Why nobody ran it. */
  absent: z.string().optional(),
  peers: z.record(z.string(), peerResult),
});

const results = z.object({
  schema: z.literal(schemaNumber),
  /** Small sizes, few repetitions: shows that everything works, measures nothing. */
  quick: z.boolean(),
  date: z.string(),
  commit: z.string().optional(),
  adapter: z.string(),
  driver: z.string(),
  software: z.boolean(),
  machine: z.object({
    cpu: z.string(),
    cores: z.int(),
    memory: z.number(),
    platform: z.string(),
    node: z.string(),
    load: z.number(),
  }),
  /** Version of each peer. */
  versions: z.record(z.string(), z.string()),
  roofline: z.object({ flopsPerSecond: z.number(), bytesPerSecond: z.number() }),
  cases: z.array(caseResult),
});

export type PeerResult = z.infer<typeof peerResult>;
export type Measured = z.infer<typeof measured>;
export type CaseResult = z.infer<typeof caseResult>;
export type Results = z.infer<typeof results>;

/** Reads results. Throws `OpabiniaError` for another schema, with both numbers, and for what is not a results file. */
export function parseResults(text: string, name: string): Results {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new OpabiniaError(`${name} is not JSON`, { op: 'bench', cause, advice: 'run the benchmark again' });
  }
  const schema = typeof json === 'object' && json !== null && 'schema' in json ? json.schema : undefined;
  if (schema !== schemaNumber) {
    const has = schema === undefined ? 'no schema number' : `schema ${JSON.stringify(schema)}`;
    throw new OpabiniaError(`${name} has ${has}; this version reads schema ${schemaNumber}`, {
      op: 'bench',
      advice: 'run the benchmark again, or check out the commit that wrote it',
    });
  }
  const parsed = results.safeParse(json);
  if (!parsed.success)
    throw new OpabiniaError(`${name} is not a results file: ${z.prettifyError(parsed.error)}`, {
      op: 'bench',
      advice: 'run the benchmark again',
    });
  return parsed.data;
}

/** `nvidia-h100_580.65_2026-11-24T10-00-00.json` */
export function resultsName({ adapter, driver, date }: Pick<Results, 'adapter' | 'driver' | 'date'>): string {
  const plain = (text: string) =>
    text
      .toLowerCase()
      .replaceAll(/[^a-z0-9.]+/g, '-')
      .replaceAll(/^-+|-+$/g, '')
      .slice(0, 60);
  return `${plain(adapter)}_${plain(driver)}_${date.slice(0, 19).replaceAll(':', '-')}.json`;
}

/** Writes indented JSON and gives its path. Throws `OpabiniaError` for results that measure nothing. */
export function fileResults(folder: string, value: Results): string {
  if (value.quick)
    throw new OpabiniaError('a quick run measures nothing and is not filed', {
      op: 'bench',
      advice: 'run without --quick, or give --json FILE',
    });
  mkdirSync(folder, { recursive: true });
  const path = join(folder, resultsName(value));
  writeFileSync(path, `${JSON.stringify(value, undefined, 1)}\n`);
  return path;
}

/** The newest results of each adapter, newest first. */
export function newestResults(folder: string): readonly Results[] {
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
  const all = names
    .map((name) => parseResults(readFileSync(join(folder, name), 'utf8'), name))
    .sort((a, b) => (a.date < b.date ? 1 : -1));
  const seen = new Set<string>();
  return all.filter(({ adapter }) => !seen.has(adapter) && seen.add(adapter));
}
