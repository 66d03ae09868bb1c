// `opabinia eval` as a person runs it: a made model judged on files of the hub's layout; killed and gone on with; in batches of one and four.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { makeModel } from '../../examples/shapes/make-model.ts';
import { makeLlava } from '../../examples/make-llava.ts';
import type { EvaluationResult } from '../../pipelines/eval/report/results.ts';
import type { Sample } from '../../pipelines/eval/report/samples.ts';
import { withoutGpu } from '../gpu/compare.ts';

const root = join(import.meta.dirname, '../..');
const golden = join(root, 'test/golden/eval');
const folder = mkdtempSync(join(tmpdir(), 'opabinia-eval-'));
afterAll(() => rmSync(folder, { recursive: true }));
const model = makeLlava(join(folder, 'llava')).directory;
const cambrian = makeModel(join(folder, 'cambrian')).directory;

const command = (...args: readonly string[]): readonly string[] => [join(root, 'cli/opabinia.ts'), 'eval', ...args];
const run = (...args: readonly string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...command(...args)], {
    encoding: 'utf8',
    timeout: 280_000,
  });
  return { status, stdout, stderr };
};
const resultsIn = (out: string): EvaluationResult =>
  JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as EvaluationResult;
const samplesIn = (out: string, name: string): readonly Sample[] =>
  readFileSync(join(out, `samples_${name}.jsonl`), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Sample);

describe('refused before anything is loaded', () => {
  const bench = `cv-bench:${join(golden, 'cv-bench')}`;
  test.each([
    [[model], /no benchmark is given/],
    [[model, '--bench', 'cv-bench'], /--bench is 'cv-bench'/],
    [[model, '--bench', `mme:${join(golden, 'cv-bench')}`], /category is missing; found: idx, .*; needed: /],
    [['nowhere', '--bench', bench], /nowhere/],
    [
      [cambrian, '--bench', bench, '--blind', 'text', '--out', join(folder, 'no')],
      /cannot be asked blind, in words alone/,
    ],
    [['compare', 'nowhere', 'nowhere'], /there is no nowhere/],
  ] as const)(
    '%j',
    (args, message) => {
      const { status, stderr } = run(...args);
      expect(stderr).toMatch(message);
      expect(status).toBe(1);
      expect(stderr).not.toMatch(/compiling|loading/);
    },
    120_000,
  );
});

test('every benchmark is listed', () => {
  const { status, stdout } = run('--list');
  expect(status).toBe(0);
  expect(stdout.trimEnd().split('\n')).toHaveLength(34);
  expect(stdout).toMatch(/mmvp +MMVP +Vision-Centric +MMVP\/MMVP, Questions\.csv and MMVP Images/);
}, 120_000);

describe.skipIf(withoutGpu)('on a device', () => {
  const benches = ['--bench', `cv-bench:${join(golden, 'cv-bench')}`, '--bench', `mmbench:${join(golden, 'mmbench')}`];
  const how = ['--max-new-tokens', '5', '--context', '192', '--blind', '--dtype', 'f32'] as const;
  const [four, one] = [join(folder, 'four'), join(folder, 'one')];
  const questions = 2 * (8 + 3);

  test('figures, slices, baselines, samples, what could not be asked', () => {
    const { status, stdout, stderr } = run(model, ...benches, ...how, '--batch', '4', '--out', four);
    expect([status, stderr]).toEqual([0, expect.stringContaining(`${questions} questions asked`)]);
    expect(stderr).toMatch(/cv-bench: 1 of 22, .* questions\/s, .* left/);
    const [cv, mmbench] = resultsIn(four).benchmarks;
    expect(cv?.figures.map(({ name }) => name)).toEqual([
      'paper',
      'paper 2D',
      'paper 3D',
      'lmms-eval (cv_bench_acc)',
      'VLMEvalKit 2D',
      'VLMEvalKit 3D',
    ]);
    expect(mmbench?.figures[0]).toMatchObject({ name: 'circular accuracy', of: 2 });
    expect(cv?.failures).toEqual([
      { question: 'test_2d.parquet#3', why: expect.stringContaining('is not a JPEG, PNG or WebP image') },
    ]);
    expect(cv?.slices.find(({ value }) => value === 'Relation')).toMatchObject({ key: 'task', count: 3, chance: 0.5 });
    // Blind, the picture that does not decode is not looked at.
    expect(cv?.blind?.figures.map(({ name }) => name)).toEqual(cv?.figures.map(({ name }) => name));
    for (const text of ['95 % interval', 'guessing', 'blind (text)', 'could not be asked and counts as wrong'])
      expect(stdout).toContain(text);
    const samples = samplesIn(four, 'cv-bench');
    expect(samples).toHaveLength(8);
    expect(samples[3]).toMatchObject({ doc_id: 3, filtered_resps: '', score: 0, target: '(B)' });
    const share = samples.filter(({ in_form: inForm }) => inForm).length / 8;
    expect(cv?.inForm).toBe(share);
    expect(existsSync(join(four, 'mmbench_submission.csv'))).toBe(true);
  }, 300_000);

  test('killed, it goes on where it was, one question at a time, with the same answers', async () => {
    const child = spawn(process.execPath, [...command(model, ...benches, ...how, '--batch', '1', '--out', one)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    await new Promise<void>((resolve, reject) => {
      let said = '';
      child.stderr.on('data', (text: Buffer) => {
        if ((said += text.toString()).includes('cv-bench: 1 of')) resolve();
      });
      child.once('exit', () => reject(new Error(said)));
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    expect(existsSync(join(one, 'results.json'))).toBe(false);
    const { status, stderr } = run(model, ...benches, ...how, '--batch', '1', '--out', one);
    expect(status).toBe(0);
    const left = Number(/(\d+) of 22 questions are to be asked/.exec(stderr)?.[1]);
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(questions);
    expect(resultsIn(one)).toEqual(resultsIn(four));
    for (const name of ['cv-bench', 'mmbench', 'cv-bench.blind'])
      expect(samplesIn(one, name)).toEqual(samplesIn(four, name));
  }, 300_000);

  test('finished, nothing is asked and no device is opened', () => {
    const { status, stderr } = run(model, ...benches, ...how, '--out', one);
    expect(status).toBe(0);
    expect(stderr).toContain('0 of 22 questions are to be asked');
    expect(stderr).not.toMatch(/compiling|at once on/);
    expect(resultsIn(one)).toEqual(resultsIn(four));
  }, 120_000);

  test('a journal of another model, and of other questions', () => {
    const other = makeLlava(join(folder, 'other'), { seed: 2 }).directory;
    const refused = run(other, ...benches, ...how, '--out', one);
    expect([refused.status, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/is the journal of another model: weights was/),
    ]);
    const longer = run(model, ...benches, '--max-new-tokens', '6', '--out', one);
    expect([longer.status, longer.stderr]).toEqual([1, expect.stringMatching(/holds another question for cv-bench/)]);
  }, 120_000);

  test('compared with itself there is no difference; studied, it is one model', () => {
    const same = run('compare', four, one);
    expect(same.status).toBe(0);
    expect(same.stdout).toMatch(/cv-bench +all +8 .* 1\.000 +no difference shown: \+0\.000/);
    const json = JSON.parse(run('compare', four, one, '--json').stdout) as { readonly slices: readonly object[] };
    expect(json.slices.length).toBeGreaterThan(5);
    const plots = join(folder, 'plots');
    const study = run('study', four, '--out', plots);
    expect(study.stdout).toMatch(/MMBench \(English\)/);
    expect(readFileSync(join(plots, 'sight.svg'), 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s);
  }, 240_000);

  test('a prompt that is too long is that question’s alone', () => {
    mkdirSync(join(folder, 'long'));
    const path = join(folder, 'long/questions.jsonl');
    writeFileSync(
      path,
      ['What?', 'word '.repeat(300)]
        .map((text, i) => `${JSON.stringify({ question_id: i, text, label: 'x' })}\n`)
        .join(''),
    );
    const out = join(folder, 'long/out');
    const { status } = run(
      model,
      '--bench',
      `llava:${path}`,
      ...how.slice(0, 4),
      '--batch',
      '4',
      '--dtype',
      'f32',
      '--out',
      out,
    );
    expect(status).toBe(0);
    const [result] = resultsIn(out).benchmarks;
    expect(result?.failures).toEqual([{ question: 'questions.jsonl#1', why: expect.stringMatching(/tokens/) }]);
    expect(result?.figures[0]).toMatchObject({ value: 0, of: 2 });
  }, 120_000);
});
