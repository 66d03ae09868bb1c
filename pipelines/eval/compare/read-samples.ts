// Samples of a run: those of our own folders, or single files as lmms-eval writes them.
import { readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { readRegular, statOf } from '../../../runtime/files/regular-file.ts';
import { BenchmarkFileError } from '../errors.ts';
import { requirePath } from '../../../dsl/graph/required.ts';

/** One answer of a run. */
export interface ComparedSample {
  readonly id: string;
  /** The same question has the same. */
  readonly hash: string;
  /** From 0 to 1. */
  readonly score: number;
  readonly cluster: string;
  readonly slices: Readonly<Record<string, string>>;
}

export interface Run {
  readonly name: string;
  /** Samples by benchmark; what has no gold answers is left out. */
  readonly benchmarks: ReadonlyMap<string, readonly ComparedSample[]>;
}

const samplesLimit = 2 ** 30;
/** Fields of a sample that are not figures of it. */
const known = new Set(['doc_id', 'score']);

/**
 * A folder of results or a file of samples. Throws `BenchmarkFileError`.
 * @example const { benchmarks } = readRun('evals/a')
 */
export function readRun(path: string): Run {
  requirePath('readRun', path, 'the run', "readRun('evals/a')");
  const place = resolve(path);
  const there = statOf(place, 'eval compare');
  if (there === undefined) throw new BenchmarkFileError(`there is no ${path}`, 'give a folder that `eval` wrote');
  if (there.isFile()) {
    const name = /samples_(.+?)(?:\.blind)?\.jsonl$/.exec(basename(place))?.[1] ?? basename(place, '.jsonl');
    return { name: basename(place), benchmarks: new Map([[name, readSamples(place)]]) };
  }
  const files = readdirSync(place)
    .filter((name) => /^samples_.+\.jsonl$/.test(name) && !name.endsWith('.blind.jsonl'))
    .sort();
  if (files.length === 0)
    throw new BenchmarkFileError(`${path} has no samples_*.jsonl`, 'give a folder that `eval` wrote');
  const benchmarks = files.map(
    (name) => [name.slice('samples_'.length, -'.jsonl'.length), readSamples(join(place, name))] as const,
  );
  return { name: basename(place), benchmarks: new Map(benchmarks.filter(([, samples]) => samples.length > 0)) };
}

function readSamples(path: string): readonly ComparedSample[] {
  const lines = readRegular(path, samplesLimit, 'eval compare').toString('utf8').split('\n');
  return lines.flatMap((line, i): readonly ComparedSample[] => {
    if (line.trim() === '') return [];
    let json: unknown;
    try {
      json = JSON.parse(line);
    } catch (cause) {
      throw new BenchmarkFileError(`${path}, line ${i + 1} is not JSON`, 'it is not a file of samples', cause);
    }
    if (typeof json !== 'object' || json === null)
      throw new BenchmarkFileError(`${path}, line ${i + 1} is not an object`, 'it is not a file of samples');
    const sample = json as Readonly<Record<string, unknown>>;
    if (sample['score'] === null) return [];
    const score = scoreOf(sample);
    if (score === undefined)
      throw new BenchmarkFileError(
        `${path}, line ${i + 1} has no score: ${Object.keys(sample).join(', ')}`,
        'a sample has `score`, a number of its own metric, or a record with `is_correct`',
      );
    const id = String(sample['question'] ?? sample['doc_id'] ?? i);
    return [
      {
        id,
        hash: String(sample['doc_hash'] ?? ''),
        score,
        cluster: String(sample['cluster'] ?? id),
        slices: slicesOf(sample['slices']),
      },
    ];
  });
}

/** Ours, or the first figure that lmms-eval's task gave the sample. */
function scoreOf(sample: Readonly<Record<string, unknown>>): number | undefined {
  if (typeof sample['score'] === 'number') return sample['score'];
  for (const [name, value] of Object.entries(sample)) {
    if (known.has(name)) continue;
    if (typeof value === 'number' && value >= 0 && value <= 1) return value;
    if (typeof value !== 'object' || value === null) continue;
    for (const field of ['is_correct', 'score', 'exact_match'])
      if (field in value) return Number((value as Readonly<Record<string, unknown>>)[field]);
  }
  return undefined;
}

function slicesOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([key, of]) => [key, String(of)]));
}
