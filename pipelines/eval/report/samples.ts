// Samples, one JSON object a line with the fields of lmms-eval's `*_samples_*.jsonl`, and behind them what `eval compare` reads.
import { createHash } from 'node:crypto';
import { AtomicFile } from '../../../runtime/files/atomic-file.ts';
import type { Benchmark } from '../benchmark.ts';
import { isInForm } from '../matching/form.ts';
import type { Judged } from './results.ts';

/** A line of a file of samples. */
export interface Sample {
  readonly doc_id: number;
  readonly input: string;
  readonly target: string;
  /** The answer as it was given. */
  readonly filtered_resps: string;
  readonly doc_hash: string;
  /** From 0 to 1; null where there is no gold answer. */
  readonly score: number | null;
  /** What was taken for the answer. */
  readonly parsed: string;
  readonly in_form: boolean;
  readonly slices: Readonly<Record<string, string>>;
  /** Answers that stand or fall together: questions of one picture. */
  readonly cluster: string;
  readonly question: string;
  readonly failure?: string;
}

/** Writes all samples of one benchmark. Throws `OpabiniaError` where they cannot be written. */
export function writeSamples(path: string, benchmark: Benchmark, answers: readonly Judged[]): void {
  const file = new AtomicFile(path, { op: 'eval' });
  for (const answered of answers) file.write(`${JSON.stringify(sampleOf(benchmark, answered))}\n`);
  file.commit();
}

function sampleOf(benchmark: Benchmark, { item, index, key, answer, grade, picture, failure }: Judged): Sample {
  const target = item.gold['answer'] ?? item.gold['letter'] ?? item.gold['label'] ?? item.gold['place'] ?? '';
  const score = grade?.score ?? (failure === '' ? null : 0);
  return {
    doc_id: index,
    input: item.prompt,
    target: String(target === '' ? JSON.stringify(item.gold) : target),
    filtered_resps: answer,
    doc_hash: createHash('sha256')
      .update(JSON.stringify([key, item.prompt, item.gold]))
      .digest('hex'),
    score,
    parsed: grade?.parsed ?? '',
    in_form: isInForm(answer, benchmark.form, item.options),
    slices: item.slices,
    cluster: picture === '' ? key : picture,
    question: key,
    ...(failure === '' ? {} : { failure }),
  };
}
