// Files of benchmarks: the hub's Parquet as its own library writes it, VLMEvalKit's TSV, JSONL, JSON, CSV; and what is refused.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { cvBenchRows, writeBenchmarks } from '../../../examples/shapes/benchmarks.ts';
import { benchmarkNamed } from '../../../pipelines/eval/benchmarks.ts';
import { BenchmarkColumnsError, BenchmarkFileError, PictureError } from '../../../pipelines/eval/errors.ts';
import { mergeQuestions, readQuestions, type Questions } from '../../../pipelines/eval/read/questions.ts';
import { decodeImage } from '../../../runtime/image/image.ts';

const golden = join(import.meta.dirname, '../../golden/eval');
const folder = mkdtempSync(join(tmpdir(), 'opabinia-eval-read-'));
afterAll(() => rmSync(folder, { recursive: true }));

const read = async (name: string, path: string, limit?: number): Promise<Questions> =>
  readQuestions(await benchmarkNamed(name), path, { limit });
const bytesOf = async ({ asked }: Questions, index: number): Promise<Uint8Array> => {
  const picture = asked[index]?.item.pictures[0];
  if (picture === undefined) throw new Error(`question ${index} has no picture`);
  return picture.bytes();
};
const place = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

describe('Parquet, as `datasets` writes it', () => {
  test('CV-Bench: both files, Snappy and Zstandard, pictures of every row group', async () => {
    const questions = await read('cv-bench', join(golden, 'cv-bench'));
    expect(questions.asked.map(({ key }) => key)).toEqual([
      ...[0, 1, 2, 3, 4].map((i) => `test_2d.parquet#${i}`),
      ...[0, 1, 2].map((i) => `test_3d.parquet#${i}`),
    ]);
    expect(questions.asked[4]?.item).toMatchObject({
      prompt:
        "Where is the cup with respect to the plate? Select from the following choices.\n(A) left\n(B) right\nAnswer with the option's letter from the given choices directly.",
      gold: { answer: '(B)', options: ['left', 'right'], source: 'COCO' },
      slices: { task: 'Relation', source: 'COCO', type: '2D' },
      chance: 0.5,
    });
    // In any order, pixels as they were drawn: 40, 90, 10 times the row.
    for (const i of [7, 0, 4, 1]) {
      const { rgb, width, height } = await decodeImage(await bytesOf(questions, i));
      expect([width, height, ...rgb.subarray(0, 3)]).toEqual([6, 4, (40 * i) % 256, (90 * i) % 256, (10 * i) % 256]);
    }
    await expect(decodeImage(await bytesOf(questions, 3))).rejects.toThrow(/not a JPEG/);
  });

  test('GQA: pictures from a table of their own', async () => {
    const questions = await read('gqa', join(golden, 'gqa'));
    expect(questions.asked).toHaveLength(4);
    expect(questions.asked.map(({ item }) => item.slices['type'])).toEqual(['verify', 'verify', 'query', 'query']);
    expect(await bytesOf(questions, 3)).toEqual(await bytesOf(questions, 1));
    expect(await bytesOf(questions, 2)).not.toEqual(await bytesOf(questions, 1));
  });

  test('ScienceQA: questions without a picture are not asked, and the numbers of the others stay', async () => {
    const { asked } = await read('scienceqa', join(golden, 'scienceqa'));
    expect(asked.map(({ key }) => key.split('#')[1])).toEqual(['0', '2']);
    expect(asked[0]?.item.prompt).toMatch(/^Animals are grouped\. Which is a mammal\? 0\nA\. a shark\nB\. a bear\n/);
    expect(asked[1]?.item.gold).toEqual({ letter: 'C', text: 'a toad' });
  });

  test('SEED: lists of pictures, videos left out', async () => {
    const questions = await read('seed', join(golden, 'seed'));
    expect(questions.asked.map(({ item }) => item.gold['answer'])).toEqual(['A', 'B', 'D']);
    expect(questions.asked[1]?.item.slices).toEqual({ type: 'Instance Counting' });
    expect((await decodeImage(await bytesOf(questions, 2))).rgb[0]).toBe(120);
  });

  test('TextVQA and MMBench: lists of texts, options that are "nan"', async () => {
    const [text] = (await read('textvqa', join(golden, 'textvqa'))).asked;
    expect(text?.item.prompt).toContain('\nReference OCR tokens: DAKOTA, DIGITAL\n');
    expect(text?.item.gold['answers']).toHaveLength(10);
    const bench = await read('mmbench', join(golden, 'mmbench'));
    expect(bench.asked.map(({ item }) => item.options)).toEqual([2, 2, 4]);
    expect(bench.asked[2]?.item.prompt).toMatch(/^Look closely\.\nAnd this\? Options:\nA\. x\n/);
  });

  test('the first so many', async () => {
    expect((await read('cv-bench', join(golden, 'cv-bench'), 6)).asked).toHaveLength(6);
  });

  test('single files of one benchmark are one benchmark', async () => {
    const files = await Promise.all(
      ['test_2d', 'test_3d'].map((name) => read('cv-bench', join(golden, 'cv-bench', `${name}.parquet`))),
    );
    const [merged, ...others] = mergeQuestions(files);
    expect(others).toEqual([]);
    expect(merged?.asked.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(() => mergeQuestions([...files, ...files])).toThrow(/two files .* have the name test_2d\.parquet/);
  });

  test('half a file', async () => {
    const path = place('half.parquet', readFileSync(join(golden, 'cv-bench/test_2d.parquet')));
    truncateSync(path, 5000);
    await expect(read('cv-bench', path)).rejects.toThrow(BenchmarkFileError);
    await expect(
      read('cv-bench', place('pointer.parquet', 'version https://git-lfs.github.com/spec/v1')),
    ).rejects.toThrow(/is not a Parquet file/);
  });
});

describe('the same miniature three ways', async () => {
  const scenes = 4;
  await writeBenchmarks(folder, scenes);
  const rows = cvBenchRows(scenes);

  test.each(['cv-bench', 'vlmevalkit'])('%s', async (layout) => {
    const questions = await read('cv-bench', join(folder, layout));
    const sorted = [...rows].sort((a, b) => (a.type < b.type ? -1 : a.type > b.type ? 1 : 0));
    expect(questions.asked.map(({ item }) => item.gold)).toEqual(
      sorted.map(({ answer, choices, source }) => ({ answer, options: choices, source })),
    );
    expect(questions.asked.map(({ item }) => item.prompt.split('\nAnswer with')[0])).toEqual(
      sorted.map(({ prompt }) => prompt),
    );
    for (const at of [sorted.length - 1, 0, 3])
      expect(Buffer.from(await bytesOf(questions, at))).toEqual(
        readFileSync(join(folder, 'cv-bench', sorted[at]?.image ?? '')),
      );
  });

  test('plain questions in the format of LLaVA', async () => {
    const questions = await read('llava', join(folder, 'questions.jsonl'));
    expect(questions.asked).toHaveLength(8 * scenes);
    expect(Buffer.from(await bytesOf(questions, 9))).toEqual(readFileSync(join(folder, 'cv-bench/img/S-1.png')));
  });

  test('a data URL and base64 in JSONL, however long', async () => {
    const image = readFileSync(join(folder, 'cv-bench/img/S-0.png'));
    const texts = [`data:image/png;base64,${image.toString('base64')}`, image.toString('base64')];
    const padding = 'x'.repeat(200_000);
    const path = place(
      'held.jsonl',
      texts.map((text, i) => JSON.stringify({ question_id: i, text: 'What?', image: text, padding })).join('\n\n'),
    );
    const questions = await read('llava', path);
    for (const i of [1, 0]) expect(Buffer.from(await bytesOf(questions, i))).toEqual(image);
  });

  test("VLMEvalKit's rotations name the row that has the picture", async () => {
    const image = readFileSync(join(folder, 'cv-bench/img/S-0.png')).toString('base64');
    const path = place(
      'MMBench_DEV_EN.tsv',
      [
        'index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\tl2-category\timage\tsplit',
        `5\tWhat "is" it?\t\tcat\tdog\t\t\tA\tx\ty\t${image}\tdev`,
        '1000005\t"What ""is""\nit?"\t\tdog\tcat\t\t\tB\tx\ty\t5\tdev',
        '7\tWhat?\t\tdog\tcat\t\t\tB\tx\ty\t99\tdev',
        '',
      ].join('\n'),
    );
    const questions = await read('mmbench', path);
    expect(questions.asked.map(({ item }) => item.options)).toEqual([2, 2, 2]);
    expect(questions.asked[1]?.item.gold['question']).toBe('What "is"\nit?');
    expect(await bytesOf(questions, 1)).toEqual(await bytesOf(questions, 0));
    await expect(bytesOf(questions, 2)).rejects.toThrow(/names the picture of row '99'/);
  });

  test('a CSV beside its folder of pictures: MMVP', async () => {
    mkdirSync(join(folder, 'mmvp/MMVP Images'), { recursive: true });
    cpSync(join(folder, 'cv-bench/img/S-1.png'), join(folder, 'mmvp/MMVP Images/2.jpg'));
    place(
      'mmvp/Questions.csv',
      '\ufeffIndex,Question,Options,Correct Answer\n1,Are the wings open?,(a) Open (b) Closed,(a)\n2,"Is it, then?",(a) Yes (b) No,(b)\n',
    );
    const questions = await read('mmvp', join(folder, 'mmvp'));
    expect(questions.asked[1]?.item.prompt).toBe(
      "Is it, then? Options:\nA. Yes\nB. No\nAnswer with the option's letter from the given choices directly.",
    );
    expect(questions.asked[0]?.item.gold).toEqual({ answer: '(a)', options: ['Open', 'Closed'] });
    expect((await bytesOf(questions, 1)).length).toBeGreaterThan(100);
    await expect(bytesOf(questions, 0)).rejects.toThrow(PictureError);
  });
});

describe('what is refused', () => {
  test('other columns: which were found, which are needed', async () => {
    const error: unknown = await read('mme', join(golden, 'cv-bench/test_2d.parquet')).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(BenchmarkColumnsError);
    expect(String(error)).toMatch(
      /has not the columns of MME: category is missing; found: idx, type, task, image, question, .*; needed: question, answer, category, image/,
    );
  });

  test.each([
    ['nothing.jsonl', '', /is empty/],
    [
      'latin.jsonl',
      Buffer.from('{"text":"a","question_id":1}\n{"text":"caf\xe9","question_id":2}\n', 'latin1'),
      /line 2 is not UTF-8/,
    ],
    ['latin.json', Buffer.from('[{"text":"caf\xe9","question_id":1}]', 'latin1'), /latin\.json is not UTF-8/],
    ['no.jsonl', 'not json\n', /line 1 is not JSON/],
    ['second.jsonl', '{"text":"a","question_id":1}\n{"text":\n', /line 2 is not JSON/],
    ['list.jsonl', '[1]\n', /is not an object/],
    ['object.json', '{"text":"a"}', /is not an array of objects/],
    ['unknown.xlsx', 'x', /not a file of a known kind/],
    ['gap.jsonl', '{"text":"a","question_id":1}\n{"text":"","question_id":2}\n', /line 2 has nothing in text/],
  ])('%s', async (name, content, message) => {
    await expect(read('llava', place(name, content))).rejects.toThrow(message);
  });

  test('a row of a TSV that is cut off', async () => {
    const path = place('cut.tsv', 'index\tquestion\tA\tanswer\timage\n1\tWhat?\ta\tA\tx\n2\tWhat');
    await expect(read('mmbench', path)).rejects.toThrow(/row 1 has 2 fields, and the header has 5/);
  });

  test('a path that is not there, a folder without files', async () => {
    await expect(read('pope', join(folder, 'nowhere'))).rejects.toThrow(/there is no file or folder/);
    mkdirSync(join(folder, 'bare'));
    await expect(read('pope', join(folder, 'bare'))).rejects.toThrow(/has no file that ends in/);
  });

  test('pictures outside of the folder, by .. and by a link', async () => {
    mkdirSync(join(folder, 'inner'));
    place('secret.png', 'secret');
    symlinkSync(join(folder, 'secret.png'), join(folder, 'inner/link.png'));
    const lines = ['../secret.png', 'link.png', '/etc/passwd', 'none.png'];
    place(
      'inner/questions.jsonl',
      lines.map((image, i) => JSON.stringify({ question_id: i, text: 'What?', image })).join('\n'),
    );
    const questions = await read('llava', join(folder, 'inner/questions.jsonl'));
    for (const i of [0, 1, 2]) await expect(bytesOf(questions, i)).rejects.toThrow(/lies outside/);
    await expect(bytesOf(questions, 3)).rejects.toThrow(/names the picture 'none.png', which is not in/);
  });

  test('an unknown benchmark', async () => {
    await expect(benchmarkNamed('cvbench')).rejects.toThrow(/the nearest (?:is|are) cv-bench/);
  });
});

test('a benchmark of your own is a module', async () => {
  const module = place(
    'mine.ts',
    `export const mine = {
  name: 'mine', title: 'Mine', source: 'here', columns: [['text']], form: 'free', maxNewTokens: 4,
  item: (row) => ({ prompt: String(row.cells.text), pictures: [], gold: {}, slices: {}, chance: 0 }),
};\n`,
  );
  const questions = await read(module, place('mine.jsonl', '{"text":"What?"}\n'));
  expect(questions.asked[0]?.item.prompt).toBe('What?');
  await expect(benchmarkNamed(place('none.ts', 'export const a = 1;\n'))).rejects.toThrow(/exports no benchmark/);
  await expect(benchmarkNamed(join(folder, 'nowhere.ts'))).rejects.toThrow(/there is no module/);
});
