// Benchmarks about benchmarks: the tables of Cambrian-1 that ship as an example, and made ones of which the answer is known.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { plotsOf } from '../../../pipelines/eval/study/plots.ts';
import { printStudy, studyJson } from '../../../pipelines/eval/study/print-study.ts';
import { sightOf } from '../../../pipelines/eval/study/sight.ts';
import { structureOf } from '../../../pipelines/eval/study/structure.ts';
import { readStudy } from '../../../pipelines/eval/study/study-table.ts';

const examples = join(import.meta.dirname, '../../../examples/study');
const example = (name: string) => readStudy([join(examples, `cambrian-1-${name}.csv`)]);
const folder = mkdtempSync(join(tmpdir(), 'opabinia-study-'));
afterAll(() => rmSync(folder, { recursive: true }));
const csv = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

describe('the tables of Cambrian-1', () => {
  test("the groups' averages are those that the paper prints", () => {
    const means = structureOf(example('models'))?.groups?.means ?? [];
    const of = (model: string) => [...(means.find((row) => row.model === model)?.means.values() ?? [])];
    // General, Knowledge, OCR & Chart, Vision-Centric of the paper's table, to its one decimal.
    const printed: Readonly<Record<string, readonly number[]>> = {
      'Cambrian-1-8B': [73.1, 61.3, 71.3, 65.0],
      'Cambrian-1-13B': [73.7, 60.2, 71.3, 62.2],
      'Cambrian-1-34B': [76.8, 67.0, 71.9, 68.5],
      'LLaVA-NeXT-34B': [76.0, 62.5, 67.7, 64.0],
      'Mini-Gemini-HD-8B': [72.7, 55.7, 62.9, 51.5],
      'GPT-4V': [63.0, 65.2, 77.4, 62.4],
    };
    for (const [model, values] of Object.entries(printed))
      for (const [i, value] of values.entries())
        expect(Math.abs((of(model)[i] ?? 0) - value), model).toBeLessThan(0.11);
  });

  test("the encoders' averages are those of the paper's plot", () => {
    const means = structureOf(example('encoders'))?.groups?.means ?? [];
    const clip = [...(means.find(({ model }) => model === 'OpenAI CLIP ViT-L/14@336')?.means.values() ?? [])];
    // The data behind the plot on the project page.
    for (const [i, value] of [66.005625, 48.125, 39.765, 48.075].entries()) expect(clip[i]).toBeCloseTo(value, 9);
  });

  test('benchmarks of one of its groups go together, over three sets of models', () => {
    for (const name of ['encoders', 'encoders-no-adapter', 'models']) {
      const groups = structureOf(example(name))?.groups;
      expect(groups?.test.within).toBeGreaterThan(0.15);
      expect(groups?.test.between).toBeLessThan(0);
      expect(groups?.test.p).toBeLessThan(0.01);
    }
  });

  test('OCR & Chart and General are clusters; what Vision-Centric and Knowledge are, clusters alone do not say', () => {
    const found = structureOf(example('encoders'));
    const clusterOf = (...names: readonly string[]) =>
      new Set(names.map((name) => found?.clusters[found.benchmarks.indexOf(name)]));
    expect(clusterOf('ChartQA', 'OCRBench', 'TextVQA', 'DocVQA').size).toBe(1);
    expect(clusterOf('MME-P', 'MMB', 'SEED-I', 'GQA').size).toBe(1);
    expect(clusterOf('ChartQA', 'MME-P').size).toBe(2);
    expect(clusterOf('MMVP', 'RealWorldQA', 'CV-Bench-2D', 'CV-Bench-3D').size).toBe(3);
    expect(found?.groups?.agreement).toBeGreaterThan(0.3);
  });

  test('the first component sets General and Vision-Centric against OCR & Chart, as in the figure', () => {
    const found = structureOf(example('encoders'));
    const loading = (name: string): number => found?.components[0]?.loadings[found.benchmarks.indexOf(name)] ?? 0;
    const sides = {
      positive: ['MME-P', 'MMB', 'SEED-I', 'GQA', 'MMVP', 'CV-Bench-2D'],
      negative: ['ChartQA', 'OCRBench', 'TextVQA', 'DocVQA', 'SQA-I', 'MathVista'],
    };
    // One sign for all of a side; which one is arbitrary.
    const sign = Math.sign(loading('GQA'));
    for (const name of sides.positive) expect(sign * loading(name), name).toBeGreaterThan(0.1);
    for (const name of sides.negative) expect(sign * loading(name), name).toBeLessThan(-0.1);
  });

  test('sight: ScienceQA needs no picture, MMBench needs it most', () => {
    const sights = sightOf(example('sight'));
    expect(sights[0]).toMatchObject({ benchmark: 'SQA-I', gain: 0 });
    expect(sights.at(-1)).toMatchObject({ benchmark: 'MMB', gain: 34.5 });
    expect(sights.find(({ benchmark }) => benchmark === 'MMVP')?.words).toBe(-25);
  });

  test('every example reads, prints and plots', () => {
    for (const name of readdirSync(examples).filter((file) => file.endsWith('.csv'))) {
      const table = readStudy([join(examples, name)]);
      const [sights, structure] = [sightOf(table), structureOf(table)];
      expect(printStudy(sights, structure)).not.toMatch(/NaN|undefined|Infinity/);
      for (const { svg } of plotsOf(sights, structure)) expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    }
  });
});

describe('made tables', () => {
  /** Four models; a and b go one way, c and d the other, on top of how good a model is. */
  const made = [
    'model,setting,a,b,c,d,e',
    ',group,x,x,y,y,y',
    ...[
      [0, 1],
      [5, -1],
      [10, 1],
      [20, -1],
      [30, 0.5],
    ].map(
      ([good = 0, way = 0], i) =>
        `m${i},sighted,${good + 4 * way},${good + 4 * way + 0.1 * i},${good - 4 * way},${good - 4 * way - 0.1 * i},7`,
    ),
    'm9,sighted,1,2,,,',
    'm0,blind,1,1,1,1,1',
    'm1,blind,2,2,2,2,2',
    'guessing,chance,0.5,,1,1,1',
  ].join('\n');

  test('what is shared is taken off, what is left is found', () => {
    const found = structureOf(readStudy([csv('made.csv', made)]));
    expect(found?.benchmarks).toEqual(['a', 'b', 'c', 'd']);
    expect([found?.leftOut, found?.constant]).toEqual([['m9'], ['e']]);
    expect(found?.shared).toBeGreaterThan(0.8);
    expect(found?.correlation[0]?.[2]).toBeGreaterThan(0.5);
    expect(found?.own[0]?.[1]).toBeGreaterThan(0.9);
    expect(found?.own[0]?.[2]).toBeLessThan(-0.9);
    expect(found?.clusters).toEqual([1, 1, 2, 2]);
    expect(found?.groups?.agreement).toBe(1);
    expect(structureOf(readStudy([csv('made.csv', made)]), { clusters: 3 })?.clusters.at(-1)).toBe(3);
  });

  test('gains are of models that have both', () => {
    const [least] = sightOf(readStudy([csv('made.csv', made)])).filter(({ benchmark }) => benchmark === 'a');
    expect(least?.gain).toBe((4 - 1 + (1 - 2)) / 2);
    expect([least?.blind?.models, least?.sighted.models, least?.chance]).toEqual([2, 6, 0.5]);
  });

  test('our own results and a CSV together', () => {
    const place = join(folder, 'run');
    mkdirSync(place);
    const figures = (value: number) => [{ name: 'accuracy', value, unit: 'share', chance: 0.5 }];
    const benchmark = {
      name: 'pope',
      title: 'a',
      figures: figures(0.8),
      blind: { how: 'text', figures: figures(0.55) },
    };
    writeFileSync(
      join(place, 'results.json'),
      JSON.stringify({ version: 1, model: { name: 'run' }, benchmarks: [benchmark] }),
    );
    const table = readStudy([place, csv('made.csv', made)]);
    const sight = sightOf(table).find(({ benchmark: name }) => name === 'a');
    expect([sight?.sighted.most, sight?.sighted.models, sight?.chance]).toEqual([80, 7, 50]);
  });

  test('too few models for a structure', () => {
    const table = readStudy([csv('few.csv', 'model,setting,a,b,c\nm,sighted,1,2,3\nn,sighted,2,3,4\n')]);
    expect(structureOf(table)).toBeUndefined();
    expect(printStudy(sightOf(table), undefined)).toMatch(/need at least four models/);
  });

  test.each([
    ['columns.csv', 'name,a\nx,1\n', /begins with the columns name, a/],
    ['setting.csv', 'model,setting,a\nx,seen,1\n', /has the setting 'seen' for x/],
    ['number.csv', 'model,setting,a\nx,sighted,high\n', /has 'high' for x/],
    ['ragged.csv', 'model,setting,a\nx,sighted,1,2\n', /does not parse/],
  ])('%s', (name, text, message) => {
    expect(() => readStudy([csv(name, text)])).toThrow(message);
  });

  test('what is not there', () => {
    expect(() => readStudy([join(folder, 'none.csv')])).toThrow(/is not there/);
    expect(() => readStudy([join(folder, 'none')])).toThrow(/there is no/);
    expect(() => readStudy([csv('results.json', '{"version":2}')])).toThrow(/is not a result of `eval`/);
    const damaged = '{"version":1,"benchmarks":[{"title":"a"}]}';
    expect(() => readStudy([csv('results.json', damaged)])).toThrow(/is not a result of `eval`/);
  });
});

test('for programs: all that is printed, the means of groups by their names', () => {
  const table = example('encoders');
  const [sights, structure] = [sightOf(table), structureOf(table)];
  const json: unknown = JSON.parse(JSON.stringify(studyJson(sights, structure)));
  const first = structure?.groups?.means[0];
  expect(json).toMatchObject({
    sights: sights.map(({ benchmark }) => ({ benchmark })),
    structure: {
      benchmarks: structure?.benchmarks,
      groups: {
        means: expect.arrayContaining([
          { model: first?.model, means: Object.fromEntries(first?.means ?? []) },
        ]) as unknown,
      },
    },
  });
  expect(Object.keys(Object.fromEntries(first?.means ?? [])).length).toBeGreaterThan(2);
});
