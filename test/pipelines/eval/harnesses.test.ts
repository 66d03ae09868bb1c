// The shapes model judged by lmms-eval and VLMEvalKit, as far as they can be had here: what their clients send goes to our own server, what
// comes back is counted by their rules, written once more from their sources, and all of it is what `eval` finds by itself.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cvBenchRows, writeBenchmarks, type CvBenchRow } from '../../../examples/shapes/benchmarks.ts';
import { shippedModel } from '../../../examples/shapes/demo.ts';
import { evaluate } from '../../../pipelines/eval/evaluate.ts';
import type { BenchmarkResult } from '../../../pipelines/eval/report/results.ts';
import { openCpu } from '../../../pipelines/run/cpu/open-cpu.ts';
import { served, type Served } from '../../support/served.ts';
import { share } from '../../support/share.ts';

/** Tokens: what the model has to say it says in fewer. */
const context = 256;
const folder = mkdtempSync(join(tmpdir(), 'opabinia-harnesses-'));
const rows = cvBenchRows(share(2, 8));
/** As VLMEvalKit sends it: a JPEG of the quality that Pillow takes by itself, its shorter side at least 100. */
const jpegs = new Map<string, Buffer>();
let server: Served;
let results: ReadonlyMap<string, BenchmarkResult>;

beforeAll(async () => {
  await writeBenchmarks(folder, share(2, 8));
  for (const { image } of rows)
    jpegs.set(
      image,
      await sharp(join(folder, 'cv-bench', image))
        .resize(100, 100)
        .jpeg({ quality: 75 })
        .toBuffer(),
    );
  for (const name of ['CV-Bench-2D.tsv', 'CV-Bench-3D.tsv']) {
    const path = join(folder, 'vlmevalkit', name);
    const of = rows.filter(({ type }) => name.includes(type));
    const lines = readFileSync(path, 'utf8').replace(/[\w+/]{200,}=*$/gm, () => jpegOf(of.shift()).toString('base64'));
    writeFileSync(path, lines);
  }
  const { result } = await evaluate(shippedModel, {
    benches: [
      { benchmark: 'cv-bench-lmms-eval', path: join(folder, 'cv-bench') },
      { benchmark: 'cv-bench-vlmevalkit', path: join(folder, 'vlmevalkit') },
    ],
    out: join(folder, 'out'),
    place: openCpu,
    context,
  });
  results = new Map(result.benchmarks.map((one) => [one.name, one]));
  server = await served(shippedModel, { rows: '8', context: String(context) });
}, 240_000);
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

function jpegOf(row: CvBenchRow | undefined): Buffer {
  const jpeg = jpegs.get(row?.image ?? '');
  if (jpeg === undefined) throw new TypeError('every picture is there as JPEG');
  return jpeg;
}

const figure = (benchmark: string, name: string): number | undefined =>
  results.get(benchmark)?.figures.find((one) => one.name === name)?.value;
const answersOf = (benchmark: string): ReadonlyMap<number, string> => {
  const lines = readFileSync(join(folder, 'out', `samples_${benchmark}.jsonl`), 'utf8')
    .trimEnd()
    .split('\n');
  return new Map(lines.map((line, i) => [i, (JSON.parse(line) as { readonly filtered_resps: string }).filtered_resps]));
};
/** In the order of the files: two dimensions, then three. */
const inOrder = [...rows.filter(({ type }) => type === '2D'), ...rows.filter(({ type }) => type === '3D')];
const mean = (values: readonly boolean[]): number => values.filter(Boolean).length / values.length;

describe('lmms-eval', () => {
  /** `_extract_answer_letter` and `cv_bench_process_results` of its `tasks/cv_bench/utils.py`. */
  const isCorrect = (reply: string, answer: string): boolean =>
    (/^[(\s]*([A-Z])[).\s]*/i.exec(reply.trim())?.[1]?.toUpperCase() ?? '') === answer.replace(/^[()]+|[()]+$/g, '');

  test('its payload, 32 at once, and its score', async () => {
    const client = new OpenAI({ baseURL: server.url, apiKey: 'x', timeout: 600_000, maxRetries: 5 });
    const replies = await Promise.all(
      inOrder.map(async (row) => {
        const letters = row.choices.map((_, i) => String.fromCharCode(65 + i)).join(', ');
        const prompt = `Note: You only need to respond with ${letters} without providing any additional information.\n`;
        const png = readFileSync(join(folder, 'cv-bench', row.image)).toString('base64');
        const payload = {
          model: 'model',
          messages: [
            {
              role: 'user' as const,
              content: [
                { type: 'text' as const, text: `${prompt}\n${row.prompt}` },
                { type: 'image_url' as const, image_url: { url: `data:image/png;base64,${png}` } },
              ],
            },
          ],
          max_tokens: 1024,
          temperature: 0,
        };
        const { choices, usage } = await client.chat.completions.create(payload);
        expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? NaN) + (usage?.completion_tokens ?? NaN));
        return choices[0]?.message.content ?? '';
      }),
    );
    expect(new Map(replies.entries())).toEqual(answersOf('cv-bench-lmms-eval'));
    const score = mean(replies.map((reply, i) => isCorrect(reply, inOrder[i]?.answer ?? '')));
    expect(figure('cv-bench-lmms-eval', 'lmms-eval (cv_bench_acc)')).toBe(score);
  });
});

describe('VLMEvalKit', () => {
  /** `can_infer` of its `utils/matching_util.py`, without a judge. */
  const inferred = (answer: string, choices: readonly string[]): string => {
    const letters = choices.map((_, i) => String.fromCharCode(65 + i));
    const split = answer.replace(/[.()[\],:;!*#{}]/g, ' ').split(/\s+/);
    const found = letters.filter((letter) => split.includes(letter));
    const [only = ''] = found;
    if (found.length === 1 && split.indexOf(only) > split.length - 5) return only;
    const texts = choices.map((choice) => choice.toLowerCase());
    if (answer.length > 2 * texts.join('').length) return 'Z';
    const named = letters.filter((_, i) => answer.toLowerCase().includes(texts[i] ?? ''));
    return named.length === 1 ? (named[0] ?? 'Z') : 'Z';
  };

  test('its payload to the whole address, and its two scores', async () => {
    const replies = await Promise.all(
      inOrder.map(async (row) => {
        const url = `data:image/jpeg;base64,${jpegOf(row).toString('base64')}`;
        const response = await fetch(`${server.url}/chat/completions`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', Authorization: 'Bearer sk-123' },
          body: JSON.stringify({
            model: 'model',
            messages: [
              {
                role: 'user',
                content: [
                  { type: 'image_url', image_url: { url, detail: 'low' } },
                  { type: 'text', text: row.prompt },
                ],
              },
            ],
            temperature: 0,
            max_tokens: 2048,
          }),
        });
        const json = (await response.json()) as OpenAI.ChatCompletion;
        return json.choices[0]?.message.content?.trim() ?? '';
      }),
    );
    const kept = answersOf('cv-bench-vlmevalkit');
    expect(replies).toEqual(replies.map((_, i) => kept.get(i)?.trim()));
    const hits = replies.map((reply, i) => {
      const row = inOrder[i];
      return { row, hit: `(${inferred(reply, row?.choices ?? [])})` === row?.answer };
    });
    const of = (source: CvBenchRow['source']): number =>
      mean(hits.filter(({ row }) => row?.source === source).map(({ hit }) => hit));
    expect(figure('cv-bench-vlmevalkit', 'VLMEvalKit 2D')).toBe((of('ADE20K') + of('COCO')) / 2);
    expect(figure('cv-bench-vlmevalkit', 'VLMEvalKit 3D')).toBe(of('Omni3D'));
    // Its words are among the options, so that what is compared is no row of zeros.
    expect(hits.some(({ hit }) => hit)).toBe(true);
  });
});

test('all three scores have their names, whichever house asked', () => {
  for (const { figures } of results.values())
    expect(figures.map(({ name }) => name)).toEqual([
      'paper',
      'paper 2D',
      'paper 3D',
      'lmms-eval (cv_bench_acc)',
      'VLMEvalKit 2D',
      'VLMEvalKit 3D',
    ]);
});
