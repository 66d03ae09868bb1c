// Samples as the reference reads them: files, roles, label masks, order; and what is wrong with a line is said with file, line and field.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { FeatureCache } from '../../../pipelines/train/data/feature-cache.ts';
import { openLlavaFile, readSample } from '../../../pipelines/train/data/llava-file.ts';
import { sampleOrder } from '../../../pipelines/train/data/sample-order.ts';
import { fileSamples } from '../../../pipelines/train/data/sample-stream.ts';
import { labelledIds } from '../../../models/sequence/labels.ts';
import type { TemplateName } from '../../../models/sequence/conversation.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-data-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const sample = (value: string, image?: string) => ({
  id: 'ignored',
  ...(image === undefined ? {} : { image }),
  conversations: [
    { from: 'human', value },
    { from: 'gpt', value: 'Yes.' },
  ],
});

describe('files in the format of LLaVA', () => {
  test('lines and arrays hold the same samples; blank lines are none', () => {
    const samples = [sample('<image>\nA?', 'a.png'), sample('B?'), sample('C <image> D?', 'None')];
    const lines = openLlavaFile(file('a.jsonl', `${samples.map((one) => JSON.stringify(one)).join('\n\n')}\n`));
    const array = openLlavaFile(file('a.json', JSON.stringify(samples)));
    expect([lines.count, array.count]).toEqual([3, 3]);
    for (let i = 0; i < 3; i++) expect(lines.sample(i)).toEqual(array.sample(i));
    expect(lines.sample(0)).toEqual({
      image: 'a.png',
      length: 3,
      turns: [
        { role: 'user', text: 'A?', images: 1 },
        { role: 'assistant', text: 'Yes.' },
      ],
    });
    // Without the key it is text, which counts below 0; with one that names nothing it is still a sample with a picture's key.
    expect([lines.sample(1).length, lines.sample(2).length, lines.sample(2).image]).toEqual([-2, 4, undefined]);
    lines.close();
    array.close();
  });

  test('a first turn of the assistant is dropped', () => {
    const { turns } = readSample(
      { conversations: [{ from: 'gpt', value: 'x' }, ...sample('A?').conversations] },
      'f',
      'line 1',
    );
    expect(turns.map((turn) => turn.role)).toEqual(['user', 'assistant']);
  });

  test.each([
    ['{"conversations": [', /broken\.jsonl, line 2, does not parse/],
    ['{"image": 3, "conversations": [{"from": "human", "value": "a"}]}', /line 2, field 'image'/],
    ['{"image": "a"}', /line 2, field 'conversations'/],
    ['{"conversations": [{"from": "human", "value": 1}]}', /line 2, field 'conversations\[0\]\.value'/],
    ['{"conversations": [{"from": "system", "value": "a"}]}', /line 2, field 'conversations\[0\]\.from'/],
    [
      '{"conversations": [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}]}',
      /line 2, field 'conversations\[1\]\.from': two turns/,
    ],
  ])('%s', (line, message) => {
    const broken = openLlavaFile(file('broken.jsonl', `${JSON.stringify(sample('A?'))}\n${line}\n`));
    expect(() => broken.sample(1)).toThrow(message);
    broken.close();
  });

  test('letters of another encoding are refused, not replaced', () => {
    const text = `${JSON.stringify(sample('A?'))}\n${JSON.stringify(sample('caf\xe9?'))}\n`;
    const latin = openLlavaFile(file('latin.jsonl', Buffer.from(text, 'latin1')));
    expect(latin.sample(0).turns[0]?.text).toBe('A?');
    expect(() => latin.sample(1)).toThrow(/latin\.jsonl, line 2, is not UTF-8/);
    latin.close();
    const utf8 = openLlavaFile(file('utf8.jsonl', `\ufeff${text}`));
    expect(utf8.sample(1).turns[0]?.text).toBe('caf\xe9?');
    utf8.close();
  });

  test('a line that is no object has no field', () => {
    const numbers = openLlavaFile(file('numbers.jsonl', '1\n'));
    expect(() => numbers.sample(0)).toThrow(/numbers\.jsonl, line 1: /);
    numbers.close();
  });

  test('files that are none', () => {
    expect(() => openLlavaFile(join(folder, 'absent.jsonl'))).toThrow(/cannot be read/);
    expect(() => openLlavaFile(file('empty.jsonl', ''))).toThrow(/is empty/);
    expect(() => openLlavaFile(file('array.json', ' [ ] '))).toThrow(/is empty/);
    // Neither a folder nor a device is read: it would never end.
    expect(() => openLlavaFile(folder)).toThrow(/not a regular file/);
    if (process.platform !== 'win32') expect(() => openLlavaFile('/dev/zero')).toThrow(/not a regular file/);
    expect(() => openLlavaFile(file('bad.json', '[{'))).toThrow(/does not parse/);
  });
});

interface Golden {
  readonly special: readonly string[];
  readonly cases: readonly {
    readonly template: TemplateName;
    readonly conversations: readonly { readonly from: string; readonly value: string }[];
    readonly adds_bos: boolean;
    readonly input_ids: readonly number[];
    readonly labels: readonly number[];
  }[];
}
const golden = JSON.parse(
  readFileSync(new URL('../../golden/cambrian/label_mask.json', import.meta.url), 'utf8'),
) as Golden;

/** The file's own tokenizer: special strings, and else one id a character. */
function toyIds(text: string): number[] {
  const ids: number[] = [];
  for (let at = 0; at < text.length;) {
    const special = golden.special.findIndex((token) => text.startsWith(token, at));
    ids.push(special >= 0 ? 100_000 + special : (text.codePointAt(at) ?? 0));
    at += golden.special[special]?.length ?? 1;
  }
  return ids;
}

describe('label masks', () => {
  test.each(golden.cases.map((one, i) => ({ ...one, i })))("$i: $template, as the reference's", async (one) => {
    const { turns } = readSample({ conversations: one.conversations }, 'golden', 'case');
    const made = await labelledIds(
      one.template,
      turns,
      (chunk, { automatic }) => [
        ...(automatic && one.adds_bos ? [1] : []),
        ...toyIds(chunk.map((part) => part.text).join('')),
      ],
      { begin: 1 },
    );
    expect(made.ids).toEqual(one.input_ids);
    expect(made.labels).toEqual(one.labels);
  });

  test('tokens that run over the border of question and answer mask the whole sample', async () => {
    const { turns } = readSample(sample('A?'), 'f', 'line 1');
    // A tokenizer that makes one token of a line break and the letter behind it.
    const greedy = (text: string): number[] =>
      [...text.matchAll(/\nY|[^]/gu)].map(([token]) => (token.length > 1 ? 99_999 : (token.codePointAt(0) ?? 0)));
    const made = await labelledIds('chatml_direct', turns, (chunk) => greedy(chunk.map((part) => part.text).join('')));
    expect(new Set(made.labels)).toEqual(new Set([-100]));
  });

  test('llama_3 counts no image after the first turn', async () => {
    const turns = [
      ...readSample(sample('A?'), 'f', 'line 1').turns,
      ...readSample(sample('<image>B?', 'b.png'), 'f', 'line 2').turns,
    ];
    const made = await labelledIds('llama_3', turns, (chunk) => toyIds(chunk.map((part) => part.text).join('')));
    expect(new Set(made.labels)).toEqual(new Set([-100]));
  });
});

describe('order', () => {
  test('each sample once, another order each epoch, the same for the same seed', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.nat(1000),
        fc.nat(20),
        fc.integer({ min: 1, max: 9 }),
        (count, seed, epoch, batch) => {
          const lengths = Array.from({ length: count }, (_, i) => (i % 3 === 0 ? -1 : 1) * (1 + ((i * 7) % 11)));
          for (const grouped of [undefined, { batch, lengths }]) {
            const order = sampleOrder({ count, seed, epoch, grouped });
            expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
            expect(sampleOrder({ count, seed, epoch, grouped })).toEqual(order);
          }
        },
      ),
    );
    expect(sampleOrder({ count: 40, seed: 1, epoch: 0 })).not.toEqual(sampleOrder({ count: 40, seed: 1, epoch: 1 }));
  });

  test('batches hold one kind, the longest first, but for the last', () => {
    const lengths = Array.from({ length: 46 }, (_, i) => (i % 2 === 0 ? 1 : -1) * (1 + ((i * 13) % 17)));
    const order = sampleOrder({ count: 46, seed: 3, epoch: 0, grouped: { batch: 4, lengths } });
    const batches = Array.from({ length: Math.floor(46 / 4) - 1 }, (_, i) => order.slice(4 * i, 4 * i + 4));
    for (const batch of batches) {
      const own = batch.map((i) => lengths[i] ?? 0);
      expect(new Set(own.map(Math.sign)).size).toBe(1);
      expect(own.map(Math.abs)).toEqual(own.map(Math.abs).sort((a, b) => b - a));
    }
  });

  test('a stream that goes on gives what is left of the one that did not stop', async () => {
    const path = file(
      'stream.jsonl',
      Array.from({ length: 7 }, (_, i) => JSON.stringify(sample(`word${i}`))).join('\n'),
    );
    const opened = openLlavaFile(path);
    const take = async (skip: number, count: number): Promise<string[]> => {
      const texts: string[] = [];
      for await (const one of fileSamples(opened, { seed: 5, skip })) {
        texts.push(one.turns[0]?.text ?? '');
        if (texts.length === count) break;
      }
      return texts;
    };
    const all = await take(0, 20);
    for (const skip of [1, 6, 7, 8, 13]) expect(await take(skip, 20 - skip)).toEqual(all.slice(skip));
    opened.close();
  });
});

describe('features of frozen towers', () => {
  test('are kept once, read back to the bit, and refuse NaN', () => {
    const cache = new FeatureCache(folder, 'key', [[2, 2, 3]]);
    const made = [Float32Array.from({ length: 12 }, (_, i) => Math.fround(i / 7))];
    expect(cache.find('ab12')).toBeUndefined();
    expect(cache.keep('ab12', made)).toEqual(made);
    expect(cache.find('ab12')).toEqual(made);
    expect(cache.counts).toEqual({ found: 1, made: 1 });
    const other = new FeatureCache(folder, 'another tower', [[2, 2, 3]]);
    expect(other.find('ab12')).toBeUndefined();
    expect(other.keep('ab12', [new Float32Array(12)])).toEqual([new Float32Array(12)]);
    expect(() => cache.keep('cd34', [new Float32Array(12).fill(NaN)])).toThrow(/tower 0 gives NaN/);
  });

  test('a file that is damaged, or of other maps, is as none, and is written anew', () => {
    const made = [new Float32Array(12).fill(1)];
    const cache = new FeatureCache(folder, 'damaged', [[2, 2, 3]]);
    const path = join(folder, 'damaged', 'ab', 'ab12.safetensors');
    for (const damage of [
      () => truncateSync(path, 100),
      () => writeFileSync(path, ''),
      () => writeFileSync(path, new Uint8Array(200)),
      () => void new FeatureCache(folder, 'damaged', [[12]]).keep('ab12', made),
    ]) {
      cache.keep('ab12', made);
      damage();
      expect(cache.find('ab12')).toBeUndefined();
      cache.keep('ab12', made);
      expect(cache.find('ab12')).toEqual(made);
    }
  });
});
