// The benchmark without its figures: statistics, results files and their refusals, tables, charts, cases, peers that crash, a quick run.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { corner, costOfWork, inputFacts, outputFacts } from '../../bench/case.ts';
import { cases, runnableCase, selectCases } from '../../bench/cases/index.ts';
import { ratioChart } from '../../bench/chart.ts';
import { PeerProcess } from '../../bench/peers/client.ts';
import { reportOf } from '../../bench/report.ts';
import {
  fileResults,
  newestResults,
  parseResults,
  resultsName,
  schemaNumber,
  type Measured,
  type Results,
} from '../../bench/results.ts';
import { deviationOf, spreadOf, worse } from '../../bench/statistics.ts';
import { raceMarkdown, racePrint, ratesOf, ratioTo } from '../../bench/table.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'opabinia-bench-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('statistics', () => {
  test('median and quartiles of odd, even and single counts', () => {
    expect(spreadOf([5, 1, 3])).toEqual({ count: 3, least: 1, lower: 2, median: 3, upper: 4 });
    expect(spreadOf([4, 1, 3, 2])).toEqual({ count: 4, least: 1, lower: 1.75, median: 2.5, upper: 3.25 });
    expect(spreadOf([7])).toEqual({ count: 1, least: 7, lower: 7, median: 7, upper: 7 });
    expect(() => spreadOf([])).toThrow(RangeError);
  });

  test('deviations: the largest and the norm, nothing for zeros, infinite for NaN and for another length', () => {
    expect(deviationOf([3, 4.5], [3, 4])).toEqual({ largest: 0.125, relative: 0.1 });
    expect(deviationOf([0, 0], [0, 0])).toEqual({ largest: 0, relative: 0 });
    expect(deviationOf([1e-9], [0]).relative).toBe(Infinity);
    expect(deviationOf([NaN, 1], [1, 1]).relative).toBe(Infinity);
    expect(deviationOf([1], [1, 1]).largest).toBe(Infinity);
    expect(worse({ largest: 1, relative: 0 }, { largest: 0, relative: 2 })).toEqual({ largest: 1, relative: 2 });
  });

  test('the corner of a tensor', () => {
    const values = Array.from({ length: 24 }, (_, i) => i); // 2 × 3 × 4
    expect([...corner(values, [2, 3, 4], [2, 2, 3])]).toEqual([0, 1, 2, 4, 5, 6, 12, 13, 14, 16, 17, 18]);
    expect([...corner(values, [2, 3, 4], [2, 3, 4])]).toEqual(values);
    expect([...corner([5], [], [])]).toEqual([5]);
  });
});

// ---- results -----------------------------------------------------------------------------------------------------------

function measured(milliseconds: number): Measured {
  return {
    status: 'measured',
    time: spreadOf([milliseconds]),
    first: 2 * milliseconds,
    error: { largest: 1e-6, relative: 1e-7 },
    notes: [],
    dispatches: 3,
    processPeak: 2 ** 27,
    deviceBytes: 2 ** 20,
  };
}

const sample: Results = {
  schema: schemaNumber,
  quick: false,
  date: '2026-01-02T03:04:05.678Z',
  adapter: 'lavapipe',
  driver: 'Mesa 25.0 <LLVM>',
  software: true,
  machine: { cpu: 'a CPU', cores: 2, memory: 2 ** 34, platform: 'linux-x64', node: 'v24.0.0', load: 0.1 },
  versions: { ours: 'this commit', 'ort-webgpu': '1.30.0' },
  roofline: { flopsPerSecond: 1e11, bytesPerSecond: 1e10 },
  cases: [
    {
      name: 'won',
      about: 'we are faster',
      flops: 1e9,
      bytes: 1e6,
      peers: {
        ours: measured(20),
        'ort-webgpu': measured(80),
        'jax-js': { status: 'left', message: 'not written for jax-js' },
      },
    },
    {
      name: 'lost',
      about: 'we are slower',
      flops: 1e6,
      bytes: 1e8,
      peers: {
        ours: measured(20),
        'ort-webgpu': measured(10),
        'jax-js': { status: 'failed', message: 'out | of\nmemory' },
      },
    },
    {
      name: 'wrong',
      about: 'a peer is wrong',
      flops: 1e6,
      bytes: 1e6,
      peers: { ours: measured(20), 'ort-webgpu': { status: 'wrong', message: 'relative error 1e-1' } },
    },
    { name: 'later', about: 'not yet', flops: 0, bytes: 0, absent: 'not there yet', peers: {} },
  ],
};

describe('results files', () => {
  test('are read as they were written, under adapter, driver and date', () => {
    const path = fileResults(folder, sample);
    expect(path.endsWith('lavapipe_mesa-25.0-llvm_2026-01-02T03-04-05.json')).toBe(true);
    expect(parseResults(readFileSync(path, 'utf8'), 'file')).toEqual(sample);
  });

  test('only the newest of each adapter counts', () => {
    fileResults(folder, { ...sample, date: '2026-02-01T00:00:00.000Z' });
    fileResults(folder, { ...sample, adapter: 'other', date: '2025-01-01T00:00:00.000Z' });
    expect(newestResults(folder).map(({ adapter, date }) => [adapter, date.slice(0, 7)])).toEqual([
      ['lavapipe', '2026-02'],
      ['other', '2025-01'],
    ]);
    expect(newestResults(join(folder, 'none'))).toEqual([]);
  });

  test('of another schema are refused with both numbers, and so is what is none', () => {
    const read = (value: unknown) => () => parseResults(JSON.stringify(value), 'old.json');
    expect(read({ ...sample, schema: 0 })).toThrow(`old.json has schema 0; this version reads schema ${schemaNumber}`);
    expect(read({ cases: [] })).toThrow('no schema number');
    expect(read({ ...sample, roofline: undefined })).toThrow(/old.json is not a results file[^]*roofline/);
    expect(() => parseResults('{', 'old.json')).toThrow('not JSON');
  });

  test('quick runs are not filed', () => {
    expect(() => fileResults(folder, { ...sample, quick: true })).toThrow('measures nothing');
    expect(resultsName(sample)).not.toContain(':');
  });
});

describe('tables and charts', () => {
  test('ratios, rates and the share of the roofline', () => {
    const [won, lost] = sample.cases;
    if (won === undefined || lost === undefined) throw new Error('no cases');
    expect(ratioTo(won, 'ort-webgpu')).toBe(4);
    expect(ratioTo(lost, 'ort-webgpu')).toBe(0.5);
    expect(ratioTo(won, 'jax-js')).toBeUndefined();
    // 1 GFLOP at 100 GFLOP/s takes 10 ms, and 20 were taken; 0.1 GB at 10 GB/s likewise.
    expect(ratesOf(won, measured(20), sample.roofline)).toEqual({ gigaflops: 50, gigabytes: 0.05, share: 0.5 });
    expect(ratesOf(lost, measured(20), sample.roofline).share).toBe(0.5);
  });

  test('print lost, failed, wrong and absent cases like the others', () => {
    const text = racePrint(sample);
    for (const part of [
      '4.00×',
      '0.50×',
      'failed: out | of memory',
      'wrong: relative error 1e-1',
      'not there yet',
      'not written for jax-js',
    ])
      expect(text).toContain(part);
    const widths = new Set(
      raceMarkdown(sample)
        .split('\n')
        .map((line) => line.replaceAll('\\|', '').split('|').length),
    );
    expect(widths.size).toBe(1);
    expect(raceMarkdown(sample)).toContain('out \\| of memory');
  });

  test('the chart has a bar for each case that both ran, lost ones to the left', () => {
    const chart = ratioChart(sample, 'ort-webgpu');
    expect(chart.match(/<rect x=/g)).toHaveLength(2);
    expect(chart).toMatch(/>1\/2<[^]*>4<[^]*won[^]*4\.00×[^]*lost[^]*0\.50×/);
    expect(ratioChart(sample, 'jax-js')).toBe('');
  });

  test('the report has a section, a summary and charts for each adapter, and needs results', () => {
    const { markdown, charts } = reportOf([sample, { ...sample, adapter: 'other' }]);
    expect(markdown).toContain('geometric mean 1.41× over 2 cases, from 0.50× to 4.00×; 1 lost');
    expect([...charts.keys()]).toEqual(['lavapipe-ort-webgpu.svg', 'other-ort-webgpu.svg']);
    for (const name of charts.keys()) expect(markdown).toContain(`performance/${name}`);
    expect(() => reportOf([])).toThrow('there are no results');
  });
});

// ---- cases -------------------------------------------------------------------------------------------------------------

describe('cases', () => {
  test('are selected by name and by first words; unknown ones are refused with the list', () => {
    expect(selectCases([])).toBe(cases);
    expect(selectCases(['softmax']).map(({ name }) => name)).toEqual(['softmax']);
    expect(selectCases(['attention']).map(({ name }) => name)).toEqual([
      'attention-full',
      'attention-full-f16',
      'attention-causal-gqa',
      'attention-causal-gqa-f16',
      'attention-regions',
    ]);
    expect(() => selectCases(['atention'])).toThrow(
      /no case 'atention'; there are matmul-1024-f32, [^]*nearest: attention/,
    );
    expect(() => runnableCase('cambrian-small')).toThrow('cannot run');
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  });

  const runnable = cases.filter((one) => 'build' in one);
  test.each(runnable.map((one) => [one.name, one] as const))(
    '%s: the inputs fit, and the judged corner is that of the whole',
    (_, one) => {
      const work = one.build('quick');
      for (const { name, axes } of inputFacts(work.graph))
        expect(work.inputs[name]?.length).toBe(axes.reduce((product, { size }) => product * size, 1));
      expect(costOfWork(work).bytes).toBeGreaterThan(0);
      if (work.judged === undefined) return;
      const run = ({ graph, inputs }: Pick<typeof work, 'graph' | 'inputs'>) =>
        evaluate(
          graph,
          { inputs: new Map(Object.entries(inputs)), params: (path, shape) => work.source.read(path, shape) },
          { precision: 'f64' },
        ).outputs;
      const [whole, judged] = [run(work), run(work.judged)];
      for (const { name, axes } of outputFacts(work.graph)) {
        const part =
          outputFacts(work.judged.graph)
            .find((output) => output.name === name)
            ?.axes.map((axis) => Math.min(axis.size, work.judged?.within?.[axis.name] ?? Infinity)) ?? [];
        const expected = corner(
          whole.get(name)?.data ?? [],
          axes.map((axis) => axis.size),
          part,
        );
        const got = corner(judged.get(name)?.data ?? [], judged.get(name)?.axes.map((axis) => axis.size) ?? [], part);
        expect(deviationOf(got, expected).relative).toBeLessThan(1e-12);
      }
    },
  );

  // Full cases move some thirty times as much as quick ones (4.5e-4 and 1.6e-5 at a rate of 1e-7), in a race of a thousand steps a thousand
  // times as much, and right is what is within 1e-4.
  test.each(runnable.filter(({ name }) => name.startsWith('train-')).map((one) => [one.name, one] as const))(
    '%s: a race does not move what is compared',
    (_, one) => {
      const { graph, inputs, source, learned = [] } = one.build('quick');
      const run = (states: ReadonlyMap<string, ArrayLike<number>>) =>
        evaluate(
          graph,
          {
            inputs: new Map(Object.entries(inputs)),
            params: (path, shape) => source.read(path, shape),
            states,
          },
          { precision: 'f64' },
        );
      const first = run(new Map(learned.map(({ path, shape }) => [path, source.read(path, shape)])));
      const second = run(first.states);
      const squares = (of: typeof first) => of.outputs.get('squares')?.data ?? [];
      expect(squares(first).length).toBe(learned.length);
      expect(deviationOf(squares(second), squares(first)).relative).toBeLessThan(1e-4 / 30 / 1000);
    },
  );

  test('contractions count 2·M·N·K and the bytes of operands and result', () => {
    expect(costOfWork(runnableCase('matmul-1024-f32').build('quick'))).toEqual({
      flops: 2 * 64 ** 3,
      bytes: 3 * 64 * 64 * 4,
    });
    expect(costOfWork(runnableCase('matmul-1024-f16').build('quick')).bytes).toBe(3 * 64 * 64 * 2);
  });
});

// ---- processes -----------------------------------------------------------------------------------------------------------

describe('peers', () => {
  test('one that crashes or hangs is an error, and the next command starts it anew', async () => {
    const judge = new PeerProcess('judge');
    try {
      await judge.open();
      await expect(judge.prepare({ name: 'softmax', scale: 'quick' }, 30)).rejects.toThrow('runs no races');
      expect(judge.running).toBe(true);
      const asked = judge.judge({ name: 'vit-l-block', scale: 'full' });
      judge.stop();
      await expect(asked).rejects.toThrow('was stopped');
      await expect(judge.ask({ kind: 'judge', job: { name: 'vit-l-block', scale: 'full' } }, 0.05)).rejects.toThrow(
        'took longer than 0.05 s to judge',
      );
      expect(judge.running).toBe(false);
      const { outputs } = await judge.judge({ name: 'softmax', scale: 'quick' });
      expect(outputs.map(({ name, part }) => [name, part])).toEqual([['y', [32, 37]]]);
    } finally {
      judge.stop();
    }
  });
});

function bench(
  ...options: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly said: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(root, 'bench/run.ts'), ...options], { cwd: root }, (error, out, said) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : 1, out, said }),
    );
  });
}

describe('npm run bench', () => {
  test('refuses unknown cases and peers with the list, before anything runs', async () => {
    const [unknown, peer, budget] = await Promise.all([
      bench('--only', 'matmull'),
      bench('--peer', 'ort'),
      bench('--budget', 'much'),
    ]);
    expect(unknown.code).toBe(1);
    expect(unknown.said).toMatch(/no case 'matmull'; there are matmul-1024-f32/);
    expect(peer.code).toBe(1);
    expect(peer.said).toContain("no peer 'ort'; there are ours, ort-webgpu, ort-cpu, jax-js, tfjs");
    expect(budget.said).toContain("--budget is 'much'");
  });

  test('lists cases and peers', async () => {
    const { code, out } = await bench('--list');
    expect(code).toBe(0);
    for (const one of cases) expect(out).toContain(one.name);
  });

  test.skipIf(process.env['OPABINIA_NO_GPU'] === '1')(
    'runs a tiny case and writes results that are marked as quick',
    async () => {
      const file = join(folder, 'quick.json');
      const { code, out, said } = await bench('--quick', '--only', 'softmax', '--peer', 'ours', '--json', file);
      expect(said).not.toContain('failed');
      expect(code).toBe(0);
      const {
        quick,
        cases: [only],
        roofline,
      } = parseResults(readFileSync(file, 'utf8'), file);
      expect(quick).toBe(true);
      const ours = only?.peers['ours'];
      expect(
        ours?.status === 'measured'
          ? { dispatches: ours.dispatches, right: (ours.error?.relative ?? 1) < 1e-5, runs: ours.time.count }
          : ours,
      ).toEqual({ dispatches: 1, right: true, runs: 2 });
      expect(roofline.flopsPerSecond).toBeGreaterThan(0);
      expect(out).toContain('measures nothing');
    },
  );

  test.skipIf(process.env['OPABINIA_NO_GPU'] === '1')(
    'a step of training is right by ONNX Runtime too: what learns begins with its values',
    async () => {
      const file = join(folder, 'quick-step.json');
      const { code, said } = await bench(
        ...['--quick', '--only', 'train-decoder', '--peer', 'ort-cpu', '--json', file],
      );
      expect(code, said).toBe(0);
      const [only] = parseResults(readFileSync(file, 'utf8'), file).cases;
      const peer = only?.peers['ort-cpu'];
      expect(peer?.status === 'measured' ? (peer.error?.relative ?? 1) < 1e-5 : peer).toBe(true);
    },
    60_000,
  );
});
