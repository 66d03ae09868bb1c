// Two runs on the same questions: what is shown, what is not, what is refused.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { compareRuns } from '../../../pipelines/eval/compare/compare-runs.ts';
import { printRunComparison } from '../../../pipelines/eval/compare/print-comparison.ts';
import { readRun, type Run } from '../../../pipelines/eval/compare/read-samples.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-compare-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Line {
  readonly question: string;
  readonly score: number | null;
  readonly cluster?: string;
  readonly slices?: Readonly<Record<string, string>>;
  readonly doc_hash?: string;
}

function run(name: string, lines: readonly Line[]): Run {
  mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(
    join(folder, name, 'samples_pope.jsonl'),
    lines.map((line, doc_id) => `${JSON.stringify({ doc_id, doc_hash: line.question, ...line })}\n`).join(''),
  );
  return readRun(join(folder, name));
}

const questions = (count: number, score: (i: number) => number): readonly Line[] =>
  Array.from({ length: count }, (_, i) => ({
    question: `q${i}`,
    score: score(i),
    cluster: `picture${Math.floor(i / 4)}`,
    slices: { kind: i % 2 === 0 ? 'even' : 'odd' },
  }));

describe('verdicts', () => {
  test('better, where one is right far more often', () => {
    const found = compareRuns(
      run(
        'a',
        questions(400, (i) => (i % 10 < 8 ? 1 : 0)),
      ),
      run(
        'b',
        questions(400, (i) => (i % 10 < 5 ? 1 : 0)),
      ),
    );
    const [all, even, odd] = found.slices;
    expect(all).toMatchObject({
      slice: 'all',
      count: 400,
      first: 0.8,
      second: 0.5,
      mcNemar: { first: 120, second: 0 },
    });
    expect(all?.difference.mean).toBeCloseTo(0.3, 12);
    expect(all?.difference.low).toBeGreaterThan(0.2);
    expect(all?.verdict).toMatch(/^better by \+0\.300/);
    expect(all?.mcNemar.p).toBeLessThan(1e-30);
    expect([even?.slice, odd?.slice]).toEqual(['kind even', 'kind odd']);
    expect(
      compareRuns(
        run(
          'b',
          questions(400, (i) => (i % 10 < 5 ? 1 : 0)),
        ),
        run(
          'a',
          questions(400, (i) => (i % 10 < 8 ? 1 : 0)),
        ),
      ).slices[0]?.verdict,
    ).toMatch(/^worse by −0\.300/);
  });

  test('no difference shown, where each is right where the other is not', () => {
    const found = compareRuns(
      run(
        'a',
        questions(80, (i) => i % 2),
      ),
      run(
        'b',
        questions(80, (i) => 1 - (i % 2)),
      ),
    );
    expect(found.slices[0]?.verdict).toMatch(/^no difference shown/);
    expect(found.slices[0]?.mcNemar).toEqual({ first: 40, second: 40, p: 1 });
    // Slice by slice there is one.
    expect(found.slices.slice(1).map(({ verdict }) => verdict.split(' ')[0])).toEqual(['worse', 'better']);
    expect(printRunComparison(found)).toMatch(/pope +all +80 +50\.0 % +50\.0 % +40 +40 +1\.000 +no difference shown/);
  });

  test('questions of one picture are drawn together: fewer pictures, wider intervals', () => {
    const width = (cluster: (i: number) => string): number => {
      const lines = (score: (i: number) => number): readonly Line[] =>
        questions(200, score).map((line, i) => ({ ...line, cluster: cluster(i) }));
      // Right in whole pictures of twenty.
      const found = compareRuns(
        run(
          'a',
          lines((i) => (Math.floor(i / 20) % 3 === 0 ? 1 : 0)),
        ),
        run(
          'b',
          lines(() => 0.5),
        ),
      );
      const { low, high } = found.slices[0]?.difference ?? { low: 0, high: 0 };
      return high - low;
    };
    expect(width((i) => `p${Math.floor(i / 20)}`)).toBeGreaterThan(2 * width((i) => `p${i}`));
  });

  test('the same twice', () => {
    const [a, b] = [
      run(
        'a',
        questions(40, (i) => (i % 3 === 0 ? 1 : 0)),
      ),
      run(
        'b',
        questions(40, (i) => (i % 5 === 0 ? 1 : 0)),
      ),
    ];
    expect(compareRuns(a, b)).toEqual(compareRuns(a, b));
  });
});

describe('what is left out or refused', () => {
  test('questions of one run only, and those without gold', () => {
    const lines = questions(10, () => 1);
    const found = compareRuns(
      run('a', lines),
      run('b', [...lines.slice(0, 8), { question: 'other', score: 1 }, { question: 'none', score: null }]),
    );
    expect(found.slices[0]?.count).toBe(8);
    expect(found.unpaired).toEqual([{ benchmark: 'pope', first: 2, second: 1 }]);
  });

  test('other questions under the same name', () => {
    const a = run('a', [{ question: 'q0', score: 1 }]);
    const b = run('b', [{ question: 'q0', score: 1, doc_hash: 'another' }]);
    expect(() => compareRuns(a, b)).toThrow(/question q0 of pope is another one in the second run/);
  });

  test('no benchmark in common, no folder, no samples, no score', () => {
    const lmms = join(folder, '20260101_samples_cv_bench.jsonl');
    writeFileSync(
      lmms,
      '{"doc_id":0,"filtered_resps":"A","cv_bench_acc":{"pred_parsed":"A","is_correct":true}}\n{"doc_id":1,"cv_bench_acc":{"is_correct":false}}\n',
    );
    const a = run('a', [{ question: 'q0', score: 1 }]);
    expect(() => compareRuns(a, readRun(lmms))).toThrow(/have no benchmark in common/);
    // Files that lmms-eval wrote are read as they are.
    expect(compareRuns(readRun(lmms), readRun(lmms)).slices[0]).toMatchObject({ benchmark: 'cv_bench', first: 0.5 });
    expect(() => readRun(join(folder, 'none'))).toThrow(/there is no/);
    mkdirSync(join(folder, 'bare'));
    expect(() => readRun(join(folder, 'bare'))).toThrow(/has no samples/);
    const wrong = join(folder, 'samples_wrong.jsonl');
    writeFileSync(wrong, '{"doc_id":0,"text":"x"}\n');
    expect(() => readRun(wrong)).toThrow(/line 1 has no score: doc_id, text/);
  });
});
