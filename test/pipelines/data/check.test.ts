// A data set with one fault of each kind: every one is found where it is, and nothing else; labels are read back as the answers.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { makeCheckpoint } from '../../../examples/make-checkpoint.ts';
import { openModel, type OpenedModel } from '../../../pipelines/answer/open-model.ts';
import { checkData, printDataReport } from '../../../pipelines/data/check-data.ts';
import { openInputs } from '../../../pipelines/data/data-inputs.ts';
import type { LabelRules } from '../../../pipelines/train/label-rules.ts';
import { labelRulesOf } from '../../../pipelines/train/trainable-of.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-check-data-'));
const pictures = join(folder, 'pictures');
const model = join(folder, 'made');
let opened: OpenedModel;
beforeAll(async () => {
  mkdirSync(pictures);
  await sharp({ create: { width: 8, height: 6, channels: 3, background: '#123' } })
    .png()
    .toFile(join(pictures, 'a.png'));
  writeFileSync(join(pictures, 'broken.png'), 'no picture');
  makeCheckpoint(model);
  opened = await openModel(model);
}, 60_000);
afterAll(() => {
  opened.close();
  rmSync(folder, { recursive: true });
});

const turn = (from: string, value: string) => ({ from, value });
const asked = (question: string, answer: string, image?: string) => ({
  ...(image === undefined ? {} : { image }),
  conversations: [turn('human', question), turn('gpt', answer)],
});
const good = asked('<image>\nWhat is this?', 'a small picture', 'a.png');

const lines = [
  good,
  asked('Why?', 'because it is so'),
  '{"conversations": [',
  { conversations: [turn('human', 'Only a question?')] },
  asked('<image>\nWhere?', 'here', 'absent.png'),
  asked('<image>\nWhere?', 'here', 'broken.png'),
  asked('Never shown?', 'so it is', 'a.png'),
  asked('<image>\nNever given?', 'so it is'),
  asked('<image>\nLong?', 'word '.repeat(400).trim(), 'a.png'),
  { image: 'a.png', conversations: [turn('human', `<image>\n${'why '.repeat(400)}`), turn('gpt', 'so')] },
].map((line) => (typeof line === 'string' ? line : JSON.stringify(line)));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function checked(path: string, rules?: LabelRules, limit?: number) {
  const inputs = openInputs(path, pictures);
  try {
    return await checkData(inputs, { rules, limit });
  } finally {
    for (const { file } of inputs) file.close();
  }
}

describe('each fault is found where it is', () => {
  test('lines, answers, pictures', async () => {
    const report = await checked(write('faults.jsonl', lines.join('\n')));
    const counts = Object.fromEntries(Object.entries(report.problems).map(([name, { count }]) => [name, count]));
    expect(counts).toEqual({
      line: 1,
      'no answer': 1,
      'image missing': 2,
      'image not shown': 1,
      'image not given': 1,
    });
    expect([report.wrong, report.labels, report.pictures]).toEqual([6, undefined, 3]);
    expect(report.problems.line?.first[0]).toMatch(/faults\.jsonl, line 3, does not parse/);
    expect(report.problems['image missing']?.first).toEqual([
      expect.stringMatching(/faults\.jsonl, line 5: .*absent\.png could not be read/),
      expect.stringMatching(/faults\.jsonl, line 6: .*broken\.png is not a JPEG/),
    ]);
    const text = printDataReport(report);
    expect(text).toMatch(/✗ image not shown, 1: a sample has a picture[^]*line 7/);
    expect(text).toMatch(/✗ 6 of 10 samples wrong; 3 pictures decoded; labels not looked at/);
  });

  test('labels: cut to nothing, and cut', async () => {
    const report = await checked(write('faults.jsonl', lines.join('\n')), labelRulesOf(opened, 320));
    expect(report.problems['labels cut']).toEqual({
      count: 1,
      first: [expect.stringMatching(/line 10: all \d+ labels lie behind the 320 tokens/)],
    });
    expect(report.remarks['answers cut']).toEqual({ count: 1, first: [expect.stringMatching(/line 9: /)] });
    expect(report.problems['labels wrong']).toBeUndefined();
    expect(report.problems['labels masked']).toBeUndefined();
    expect(report.wrong).toBe(7);
  });

  test('nothing wrong, and the number of labels: one token of the answer at least, and what ends it', async () => {
    const two = { image: 'a.png', conversations: [...good.conversations, turn('human', 'And?'), turn('gpt', 'so')] };
    const path = write('good.jsonl', [good, two].map((one) => JSON.stringify(one)).join('\n'));
    const rules = labelRulesOf(opened, 2048);
    const report = await checked(path, rules);
    expect([report.wrong, report.problems, report.remarks]).toEqual([0, {}, {}]);
    const tokens = async (text: string) =>
      (await rules.tokenizer.encode([{ kind: 'user', text }], { automatic: false })).length;
    expect(report.labels).toBe(2 * ((await tokens('a small picture')) + 1) + (await tokens('so')) + 1);
    expect((await checked(path, rules, 1)).sources[0]).toMatchObject({ samples: 2, checked: 1 });
  });

  test('an image in a later turn masks a sample of llama_3', async () => {
    const late = {
      image: 'a.png',
      conversations: [turn('human', 'A?'), turn('gpt', 'so'), turn('human', '<image>\nB?'), turn('gpt', 'so')],
    };
    const rules: LabelRules = { ...labelRulesOf(opened, 2048), template: 'llama_3' };
    const report = await checked(write('late.jsonl', JSON.stringify(late)), rules);
    expect(report.problems['labels masked']?.count).toBe(1);
  });

  test('labels that are not the answers: a tokenizer that reads something else back', async () => {
    const rules = labelRulesOf(opened, 2048);
    const lies = vi.spyOn(rules.tokenizer, 'decodeAll');
    lies.mockImplementation(async (lists) => lists.map((ids, i) => `${ids.length} ${i}`));
    const report = await checked(write('one.jsonl', JSON.stringify(good)), rules);
    lies.mockRestore();
    expect(report.problems['labels wrong']?.first[0]).toMatch(/answer 1 is 'a small picture', and its labels say/);
  });
});

test('the command says so, with an exit code', () => {
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, [join(import.meta.dirname, '../../../cli/opabinia.ts'), 'data', ...args], {
      encoding: 'utf8',
    });
  const bad = run('check', write('bad.jsonl', lines.join('\n')), '--images', pictures, '--json');
  expect(bad.status).toBe(1);
  expect(JSON.parse(bad.stdout)).toMatchObject({ wrong: 6 });
}, 60_000);
