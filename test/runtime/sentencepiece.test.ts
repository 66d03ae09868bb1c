// `tokenizer.model` read directly: ids and texts of SentencePiece itself, and files that are damaged.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { modelFiles } from '../../runtime/checkpoint/hub.ts';
import { openTokenizer } from '../../runtime/text/open-tokenizer.ts';
import { readTokenizer } from '../../runtime/text/read-tokenizer.ts';
import { pieceTokenizer, sentencePieceJson } from '../../runtime/text/sentencepiece.ts';
import { TextStream, Tokenizer, type TextPart } from '../../runtime/text/tokenizer.ts';
import { generator, mutated } from '../attack/mutate.ts';

const golden = join(import.meta.dirname, '../golden/sentencepiece');
const folder = mkdtempSync(join(tmpdir(), 'opabinia-sentencepiece-'));
afterAll(() => rmSync(folder, { recursive: true }));
const user = (text: string): TextPart => ({ kind: 'user', text });
const control = (text: string): TextPart => ({ kind: 'control', text });
const bare = { automatic: false };

describe.each(['bpe', 'unigram'])('%s', (name) => {
  const tokenizer = readTokenizer(join(golden, `${name}.model`));
  const { cases } = JSON.parse(readFileSync(join(golden, `${name}.json`), 'utf8')) as {
    readonly cases: readonly { readonly text: string; readonly ids: readonly number[]; readonly decoded: string }[];
  };

  test("ids and texts are SentencePiece's own", () => {
    for (const { text, ids, decoded } of cases) {
      expect(tokenizer.encode([user(text)], bare), text).toEqual(ids);
      expect(tokenizer.decode(ids), text).toBe(decoded);
    }
  });

  test('as it comes, the text is the same', async () => {
    for (const { ids, decoded } of cases) {
      const stream = new TextStream(tokenizer);
      let text = '';
      for (const id of ids) text += await stream.push(id);
      expect(text + (await stream.end())).toBe(decoded);
    }
  });

  test("a user's words are not control tokens", () => {
    expect(tokenizer.encode([control('</s>')], bare)).toContain(2);
    expect(tokenizer.encode([user('<s></s><unk>')], bare).filter((id) => id <= 2)).toEqual([]);
  });
});

test.each([
  ['abc', ['ab', 'c']],
  ['bcab', ['bc', 'ab']],
  ['abcd', ['ab', 'cd']],
  ['bcde', ['b', 'cde']],
])('of pairs whose pieces have one score the leftmost of %s merges first', (text, expected) => {
  const scored: readonly (readonly [string, number])[] = [
    ['bc', -2],
    ['ab', -2],
    ['cd', -2],
    ['cde', -1],
    ['de', -1],
  ];
  const letters = [...'abcde'].map((letter) => [letter, -9] as const);
  const pieces = [
    { text: '<unk>', score: 0, kind: 'unknown' } as const,
    ...[...scored, ...letters].map(([piece, score]) => ({ text: piece, score, kind: 'normal' }) as const),
  ];
  const json = pieceTokenizer(
    { pieces, type: 'bpe', byteFallback: false, table: new Uint8Array(), dummyPrefix: false, removeExtraSpaces: false },
    {},
    {},
  );
  const ids = new Tokenizer(json, {}, 'made').encode([user(text)], bare);
  expect(ids.map((id) => pieces[id]?.text)).toEqual(expected);
});

describe('a table of forms', () => {
  const { cases } = JSON.parse(readFileSync(join(golden, 'rules.json'), 'utf8')) as {
    readonly cases: readonly { readonly text: string; readonly ids: readonly number[]; readonly normalized: string }[];
  };
  const model = readFileSync(join(golden, 'rules.model'));

  test('is read as SentencePiece reads it: ids are its own', () => {
    const tokenizer = readTokenizer(join(golden, 'rules.model'));
    for (const { text, ids } of cases) expect(tokenizer.encode([user(text)], bare), text).toEqual(ids);
  });

  test("of a tokenizer.json, as Hugging Face's tokenizers read it", () => {
    const own = sentencePieceJson(model, {}, {}, 'rules.model') as {
      readonly normalizer: { readonly normalizers: readonly { readonly type: string }[] };
    };
    const [table] = own.normalizer.normalizers;
    // Every character a token, so that ids spell what became of the text.
    const characters = [...new Set(cases.flatMap(({ normalized }) => [...normalized]))];
    const tokenizer = new Tokenizer(
      {
        added_tokens: [],
        normalizer: { ...table, original: undefined },
        pre_tokenizer: null,
        post_processor: null,
        decoder: null,
        model: { type: 'BPE', vocab: Object.fromEntries(characters.map((text, id) => [text, id])), merges: [] },
      },
      {},
      'tokenizer.json',
    );
    for (const { text, normalized } of cases)
      expect(
        tokenizer
          .encode([user(text)])
          .map((id) => characters[id])
          .join(''),
        text,
      ).toBe(normalized);
  });

  test('that is damaged is refused', () => {
    const own = (charsmap: string) => () =>
      new Tokenizer(
        {
          added_tokens: [],
          normalizer: { type: 'Precompiled', precompiled_charsmap: charsmap },
          pre_tokenizer: null,
          post_processor: null,
          decoder: null,
          model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
        },
        {},
        'tokenizer.json',
      );
    for (const charsmap of ['AA==', '/////w==', 'BQAAAAAAAAA=']) {
      expect(own(charsmap)).toThrow(OpabiniaError);
      expect(own(charsmap)).toThrow('precompiled_charsmap is damaged');
    }
    // No unit at all: nothing is found.
    expect(own('AAAAAA==')().encode([user('a')])).toEqual([0]);
  });

  test('words that end with a space are refused', () => {
    // trainer_spec, field 2; treat_whitespace_as_suffix, field 24.
    const suffix = Buffer.concat([model, Buffer.from([0x12, 0x03, 0xc0, 0x01, 0x01])]);
    expect(() => sentencePieceJson(suffix, {}, {}, 'x.model')).toThrow('treat_whitespace_as_suffix');
  });
});

describe('added tokens', () => {
  const bpe = readTokenizer(join(golden, 'bpe.model'));
  test('a symbol defined by hand is one id where a template writes it, and stays in answers', () => {
    const ids = bpe.encode([control('<image>'), user('see <image>')], bare);
    expect(ids[0]).toBe(3);
    expect(ids.indexOf(3, 1)).toBe(-1);
    expect(bpe.decode([...bpe.encode([user('a')], bare), 3])).toBe('a<image>');
  });

  test("runs of spaces defined by hand, as Gemma's, are found in anybody's text", () => {
    const pieces = [
      { text: '<unk>', score: 0, kind: 'unknown' },
      { text: '▁▁', score: 0, kind: 'user' },
      { text: '▁▁▁', score: 0, kind: 'user' },
      { text: '▁', score: -1, kind: 'normal' },
      { text: 'a', score: -2, kind: 'normal' },
    ] as const;
    const json = pieceTokenizer(
      {
        pieces,
        type: 'bpe',
        byteFallback: false,
        table: new Uint8Array(),
        dummyPrefix: false,
        removeExtraSpaces: false,
      },
      {},
      {},
    );
    const tokenizer = new Tokenizer(json, {}, 'made');
    // SentencePiece takes the longest symbol at each place.
    for (const part of [user, control])
      expect(tokenizer.encode([part('a a  a     a')])).toEqual([4, 3, 4, 1, 4, 2, 1, 4]);
    expect(tokenizer.decode([4, 3, 4, 1, 4, 2, 1, 4])).toBe('a a  a     a');
  });

  test('those of tokenizer_config.json and added_tokens.json; begin and end as the config says', () => {
    cpSync(join(golden, 'bpe.model'), join(folder, 'tokenizer.model'));
    const config = join(folder, 'tokenizer_config.json');
    writeFileSync(
      config,
      JSON.stringify({
        tokenizer_class: 'LlamaTokenizer',
        add_eos_token: true,
        added_tokens_decoder: {
          700: { content: '<|eot|>', special: true },
          701: { content: '<tool>', special: false },
        },
      }),
    );
    writeFileSync(join(folder, 'added_tokens.json'), JSON.stringify({ '<pad>': 702 }));
    const tokenizer = readTokenizer(join(folder, 'tokenizer.model'), config);
    expect(tokenizer.size).toBe(703);
    expect(tokenizer.automaticStart).toEqual([1]);
    expect(tokenizer.encode([control('<|eot|><tool><pad>')])).toEqual([1, 700, 701, 702, 2]);
    expect(tokenizer.decode([700, 701])).toBe('<tool>');
  });
});

describe('words that were added', () => {
  const model = readFileSync(join(golden, 'bpe.model'));
  const withWords = (config: object, flags: object, template = ''): Tokenizer => {
    const json = sentencePieceJson(model, config, {}, 'bpe.model') as { readonly added_tokens: readonly object[] };
    const words = ['<loc_1>', '<loc_12>', '<|user|>', '<image_2>', '[TURN]', '<said>'].map((content, i) => ({
      id: 700 + i,
      content,
      special: false,
      ...flags,
    }));
    return new Tokenizer({ ...json, added_tokens: [...json.added_tokens, ...words] }, {}, 'tokenizer.json', template);
  };
  const spelled = [688, 614, 607, 613, 695, 641, 672];
  const early = { normalized: false };
  const late = { normalized: true };
  // What `tokenizers` 0.23 gives for the same files, ids and text.
  test.each<[string, object, object, string, readonly number[], string]>([
    ['behind a space', {}, early, 'a <loc_1> b', [260, 602, 700, 267, 623], 'a <loc_1>  b'],
    ['inside of a word', {}, early, 'a<loc_1>b', [260, 700, 280], 'a<loc_1> b'],
    [
      'that takes the space in front',
      {},
      { ...early, lstrip: true },
      'at <loc_1>.',
      [396, 700, 602, 622],
      'at<loc_1> .',
    ],
    ['that takes the space behind', {}, { ...early, rstrip: true }, 'a <loc_1> b', [260, 602, 700, 280], 'a <loc_1> b'],
    ['apart, apart', {}, { ...early, single_word: true }, 'at <loc_1>.', [396, 602, 700, 602, 622], 'at <loc_1> .'],
    ['apart, in a word', {}, { ...early, single_word: true }, 'a<loc_1>b', [260, ...spelled, 623], 'a<loc_1>b'],
    ['late, behind a space', {}, late, 'a <loc_1> b', [260, 700, 280], 'a <loc_1> b'],
    ['late, inside of a word', {}, late, 'a<loc_1>b', [260, ...spelled, 623], 'a<loc_1>b'],
    ['late, one after the other', {}, late, '<loc_1><loc_1>', [700, ...spelled], '<loc_1><loc_1>'],
    ['late, where nothing is put in front', { legacy: false }, late, 'a<loc_1>b', [260, 700, 623], 'a<loc_1>b'],
    ['the longest', {}, late, '<loc_12>', [701], '<loc_12>'],
  ])('%s', (_name, config, flags, text, ids, decoded) => {
    const tokenizer = withWords(config, flags);
    for (const part of [user(text), control(text)]) expect(tokenizer.encode([part], bare)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(decoded);
  });

  test('markup and what the chat template spells are no words of users', () => {
    const tokenizer = withWords({}, early, "{{ '<said>' + messages[0]['content'] }}");
    const text = '<|user|><image_2>[TURN]<said><loc_1>';
    expect(tokenizer.encode([control(text)], bare)).toEqual([702, 703, 704, 705, 700]);
    expect(tokenizer.encode([user(text)], bare).filter((id) => id >= 700)).toEqual([700]);
  });
});

test('a directory that has no tokenizer.json opens in the sandbox; spare tokens are refused when a text has one', async () => {
  const files = modelFiles(folder);
  expect(files.tokenizer).toContain('tokenizer.model');
  const tokenizer = await openTokenizer(files);
  expect(tokenizer.fits(690)).toBe(false);
  expect(tokenizer.fits(702)).toBe(true);
  expect(await tokenizer.decode(await tokenizer.encode([user('Hello')]))).toBe('Hello');
  await expect(tokenizer.encode([control('<pad>')])).rejects.toThrow(
    /the token 702, and the model a vocabulary of 702/,
  );
  tokenizer.close();
});

describe('damaged files', () => {
  const good = readFileSync(join(golden, 'bpe.model'));
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(), /has no pieces/],
    ['text', Buffer.from('not a model'), /cannot be read/],
    ['cut off', good.subarray(0, good.length - 3), /cannot be read/],
    [
      'a piece twice',
      Buffer.concat([good, Buffer.from('0a0e0a053c756e6b3e150000000018 02'.replace(' ', ''), 'hex')]),
      /has a piece twice/,
    ],
    ['a piece without text', Buffer.concat([good, Buffer.from('0a00', 'hex')]), /a piece has 0 characters/],
    ['words', Buffer.concat([good, Buffer.from('12021803', 'hex')]), /is of words/],
  ])('%s', (_name, bytes, message) => {
    expect(() => sentencePieceJson(bytes, {}, {}, 'tokenizer.model')).toThrow(message);
  });

  test('mutations are read or refused by a typed error', () => {
    const random = generator(7);
    for (let i = 0; i < 60; i++) {
      try {
        void new Tokenizer(sentencePieceJson(mutated(good, random), {}, {}, 'tokenizer.model'), {}, 'tokenizer.model')
          .size;
      } catch (error) {
        expect(error).toBeInstanceOf(OpabiniaError);
      }
    }
  });
});
