// Steps in front of the model, and bytes behind it: as Hugging Face's tokenizers (Rust) take them, whatever the library does with them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { readTokenizer } from '../../runtime/text/read-tokenizer.ts';
import { Tokenizer } from '../../runtime/text/tokenizer.ts';

interface Steps {
  readonly pre?: object;
  readonly normalizer?: object;
  readonly added?: readonly object[];
  /** Pieces besides single characters; each is a merge of its first character with the rest of it. */
  readonly merges?: readonly (readonly [string, string])[];
}

/** A BPE whose tokens are characters and the merges given, so that tokens show where a text was cut. */
function pieces(text: string, { pre, normalizer, added = [], merges = [] }: Steps, kind: 'control' | 'user' = 'user') {
  const characters = new Set([...text, ...merges.flatMap((pair) => [...pair.join('')]), ...byteCharacters]);
  const vocab = [...characters, ...merges.map((pair) => pair.join('')), ...added.map((token) => contentOf(token))];
  const tokenizer = new Tokenizer(
    {
      version: '1.0',
      added_tokens: added.map((token) => ({ id: vocab.indexOf(contentOf(token)), special: true, ...token })),
      normalizer: normalizer ?? null,
      pre_tokenizer: pre ?? null,
      post_processor: null,
      decoder: null,
      model: { type: 'BPE', vocab: Object.fromEntries(vocab.map((token, id) => [token, id])), merges },
    },
    {},
    'tokenizer.json',
  );
  return tokenizer.encode([{ kind, text }], { automatic: false }).map((id) => vocab[id]);
}
const contentOf = (token: object): string => ('content' in token ? String(token.content) : '');
/** GPT-2's names of the bytes that appear below. */
const byteCharacters = [...'ĠÂ½ħï»¿Ċa'];
const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const sequence = (...pretokenizers: readonly object[]) => ({ type: 'Sequence', pretokenizers });

describe('where texts are cut', () => {
  const blanks = [['Ġ', 'Ġ']] as const;
  test('digits are what Unicode calls numbers, as SmolLM has them', () => {
    const pre = sequence({ type: 'Digits', individual_digits: true }, byteLevel);
    // A number begins a piece of its own, so both blanks in front of it are one piece.
    expect(pieces('  ½', { pre, merges: blanks })).toEqual(['ĠĠ', 'Â', '½']);
    expect(pieces('١١', { pre: { type: 'Digits', individual_digits: true }, merges: [['١', '١']] })).toEqual([
      '١',
      '١',
    ]);
    expect(pieces('١١', { pre: { type: 'Digits', individual_digits: false }, merges: [['١', '١']] })).toEqual(['١١']);
  });
  test("blanks are Unicode's: the byte order mark is none, the line end of mainframes is one", () => {
    expect(pieces('  \u{feff}', { pre: byteLevel, merges: blanks })).toEqual(['Ġ', 'Ġ', 'ï', '»', '¿']);
    expect(pieces('  \u{85}', { pre: byteLevel, merges: blanks })).toEqual(['ĠĠ', 'Â', 'ħ']);
  });
  test('with a blank in front', () => {
    const pre = { ...byteLevel, add_prefix_space: true };
    expect(pieces('a a', { pre, merges: [['Ġ', 'a']] })).toEqual(['Ġa', 'Ġa']);
    expect(pieces(' a', { pre, merges: [['Ġ', 'a']] })).toEqual(['Ġa']);
  });
  test('Metaspace cuts in front of each mark, unless it is told not to', () => {
    const pre = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' };
    const merges = [['▁', '▁']] as const;
    expect(pieces('a  a', { pre: { ...pre, split: true }, merges })).toEqual(['▁', 'a', '▁', '▁', 'a']);
    expect(pieces('a  a', { pre: { ...pre, split: false }, merges })).toEqual(['▁', 'a', '▁▁', 'a']);
    expect(pieces('a', { pre: { type: 'Metaspace', replacement: '▁', add_prefix_space: false }, merges })).toEqual([
      'a',
    ]);
  });
  const bars = (behavior: string, invert = false) => ({
    type: 'Split',
    pattern: { String: '|' },
    behavior,
    invert,
  });
  test.each([
    ['Isolated', ['a', '|', '|', 'a']],
    ['Removed', ['a', 'a']],
    ['Contiguous', ['a', '||', 'a']],
    ['MergedWithPrevious', ['a|', '|', 'a']],
    ['MergedWithNext', ['a', '|', '|a']],
  ])('a split that is %s', (behavior, wanted) => {
    const merges = [
      ['|', '|'],
      ['a', '|'],
      ['|', 'a'],
    ] as const;
    expect(pieces('a||a', { pre: bars(behavior), merges })).toEqual(wanted);
  });
  test('a split that is not known is refused', () => {
    expect(() => pieces('a', { pre: bars('MergedWithNext', true) })).toThrow(OpabiniaError);
    expect(() => pieces('a', { pre: bars('MergedWithNext', true) })).toThrow(
      'with the behavior MergedWithNext, inverted',
    );
  });
  test('marks one by one; words of any script', () => {
    expect(pieces('a!!', { pre: { type: 'Punctuation', behavior: 'Isolated' }, merges: [['!', '!']] })).toEqual([
      'a',
      '!',
      '!',
    ]);
    expect(
      pieces('éé+é', {
        pre: { type: 'Whitespace' },
        merges: [
          ['é', 'é'],
          ['+', 'é'],
        ],
      }),
    ).toEqual(['éé', '+', 'é']);
  });
});

test('what is stripped is blank by Unicode, and a dollar is a dollar', () => {
  const normalizer = { type: 'Strip', strip_left: true, strip_right: true };
  expect(pieces('\u{85} a\u{feff} ', { normalizer })).toEqual(['a', '\u{feff}']);
  const dollars = { type: 'Replace', pattern: { String: 'a' }, content: '$&' };
  expect(pieces('a$&', { normalizer: dollars })).toEqual(['$', '&', '$', '&']);
});

describe('added tokens', () => {
  const taking = { content: '<x>', lstrip: true, rstrip: true };
  test('take the blanks beside them that are blanks by Unicode, and no others', () => {
    expect(pieces('a\u{feff}<x>\u{feff}a', { added: [taking] }, 'control')).toEqual([
      'a',
      '\u{feff}',
      '<x>',
      '\u{feff}',
      'a',
    ]);
    expect(pieces('a \u{85}<x>\u{85} \n<x> a', { added: [taking] }, 'control')).toEqual(['a', '<x>', '<x>', 'a']);
    const plain = { content: '<y>' };
    expect(pieces('<y> <x> <y> ', { added: [taking, plain] }, 'control')).toEqual(['<y>', '<x>', '<y>', ' ']);
  });
  test('that stand alone have no character of a word beside them', () => {
    const alone = { content: 'cat', single_word: true };
    const letters = ['c', 'a', 't'];
    expect(pieces('cat cats', { added: [alone] }, 'control')).toEqual(['cat', ' ', ...letters, 's']);
    // A mark on nothing is a character of a word; the number of a footnote is none.
    expect(pieces('\u{345}cat', { added: [alone] }, 'control')).toEqual(['\u{345}', ...letters]);
    expect(pieces('cat²', { added: [alone] }, 'control')).toEqual(['cat', '²']);
  });
});

test('of pieces that weigh the same in another order, those of the original', () => {
  const vocab = [
    ['<unk>', 0],
    ['a', -2.4],
    ['aa', -1.9],
    ['b', -3.2],
    ['ab', -1.4],
    ['ba', -5.7],
    ['aaa', -0.4],
  ] as const;
  const tokenizer = new Tokenizer(
    {
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
      model: { type: 'Unigram', unk_id: 0, vocab },
    },
    {},
    'tokenizer.json',
  );
  // As `tokenizers` 0.23.2 of Python has it, with this vocabulary.
  expect(tokenizer.encode([{ kind: 'user', text: 'abaaaaabaa' }])).toEqual([4, 6, 1, 4, 2]);
  // What no piece spells is one token, however long.
  expect(tokenizer.encode([{ kind: 'user', text: 'axyza' }])).toEqual([1, 0, 1]);
  // More pieces in a word than a call can have arguments.
  expect(tokenizer.encode([{ kind: 'user', text: 'b'.repeat(300_000) }])).toHaveLength(300_000);
});

describe('added tokens that stand beside tokenizer.json', () => {
  const directory = mkdtempSync(join(tmpdir(), 'opabinia-tokens-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const write = (name: string, json: object): string => {
    writeFileSync(join(directory, name), JSON.stringify(json));
    return join(directory, name);
  };
  const special = { special: true, lstrip: false, rstrip: false, single_word: false, normalized: false };
  const path = write('tokenizer.json', {
    added_tokens: [{ ...special, id: 4, content: '<x>' }],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: 'BPE', vocab: { a: 0, ' ': 1, '<': 2, '>': 3, d: 6 }, merges: [] },
  });
  const config = write('tokenizer_config.json', {
    added_tokens_decoder: {
      // The token's own manner, as transformers takes it from here; one that is new; one whose place is taken; one that is a word already.
      4: { ...special, content: '<x>', rstrip: true },
      5: { ...special, content: '<b>' },
      0: { ...special, content: '<c>' },
      7: { ...special, content: 'd' },
    },
  });

  test('count, and say what stands around them', () => {
    const ids = readTokenizer(path, config).encode([{ kind: 'control', text: '<x> a<b>a<c>d' }]);
    expect(ids).toEqual([4, 0, 5, 0, 2, 3, 6]);
    expect(readTokenizer(path).encode([{ kind: 'control', text: '<x> a<b>' }])).toEqual([4, 1, 0, 2, 3]);
  });
  test('in a list of their own too, and never as a user’s', () => {
    write('added_tokens.json', { '<l>': 8, a: 0 });
    const tokenizer = readTokenizer(path, config);
    expect(tokenizer.encode([{ kind: 'control', text: '<l>a' }])).toEqual([8, 0]);
    expect(tokenizer.encode([{ kind: 'user', text: '<b>' }])).toEqual([2, 3]);
  });
});

test('bytes that are no text are as many marks; a byte order mark is text', () => {
  const vocab = Object.fromEntries(
    Array.from({ length: 256 }, (_, byte) => [`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, byte]),
  );
  const decoders = [{ type: 'ByteFallback' }, { type: 'Fuse' }];
  for (const decoder of [{ type: 'Sequence', decoders }, { type: 'ByteFallback' }]) {
    const tokenizer = new Tokenizer(
      {
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder,
        model: { type: 'BPE', vocab: { ...vocab, b: 256 }, merges: [], byte_fallback: true },
      },
      {},
      'tokenizer.json',
    );
    expect(tokenizer.decode([0xef, 0xbb, 0xbf, 0x61])).toBe('\u{feff}a');
    expect(tokenizer.decode([0x61, 0xe4, 0xbd])).toBe('\u{fffd}'.repeat(3));
    expect(tokenizer.decode([0x61, 256, 0xe4, 0xbd, 0xa0])).toBe('ab你');
  }
});
