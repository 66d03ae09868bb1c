// Tokenizers: round trips, control tokens that users cannot write, text as it streams, files that contradict themselves.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { controlTokens, makeTokenizer } from '../../examples/made/vocabulary.ts';
import { TextStream, Tokenizer, type TextPart } from '../../runtime/text/tokenizer.ts';

const made = makeTokenizer(672);
const byteLevel = new Tokenizer(made.json, made.config, 'tokenizer.json');

/** As Llama 2's: pieces with ▁, bytes for what no piece has; control tokens stand in the vocabulary as well, and a merge makes one. */
function sentencePiece(): object {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const pieces = [
    '<unk>',
    '<s>',
    '</s>',
    ...bytes,
    '▁',
    'a',
    'b',
    'c',
    ' ',
    '<',
    '/',
    's',
    '>',
    'ab',
    '▁ab',
    '</',
    '</s',
  ];
  const merges = ['a b', '▁ ab', '< /', '</ s', '</s >'];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    pre_tokenizer: null,
    added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges,
    },
  };
}
const pieces = new Tokenizer(sentencePiece(), {}, 'tokenizer.json');

const user = (text: string): TextPart => ({ kind: 'user', text });
const control = (text: string): TextPart => ({ kind: 'control', text });
const bare = { automatic: false } as const;

/** Strings that look like control tokens, whole and in parts, among others. */
const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(...controlTokens, '</s>', '<s>', '<', '|', '<|', 'eot_id', '|>', '<image>', '\u{e000}'),
      fc.string({ unit: 'grapheme', maxLength: 6 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(''));

describe('round trips', () => {
  test('any text of well-formed characters, byte by byte', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        expect(byteLevel.decode(byteLevel.encode([user(text)], bare))).toBe(text);
      }),
    );
  });
  test('with byte fallback', () => {
    expect(pieces.decode(pieces.encode([user('ab 你 ca')], bare))).toBe('ab 你 ca');
  });
  test('words across the border of template and user are one text', () => {
    expect(byteLevel.encode([control('What is'), user(' in the image?')], bare)).toEqual(
      byteLevel.encode([user('What is in the image?')], bare),
    );
    // One prefix of the whole text, not one for each part.
    expect(pieces.encode([control('a'), user('b')], bare)).toEqual([pieces.idOf('▁ab')]);
  });
});

describe('control tokens', () => {
  test('are found in templates, with what the tokenizer adds by itself', () => {
    const [begin, turn] = [made.idOf('<|begin_of_text|>'), made.idOf('<|eot_id|>')];
    expect(byteLevel.automaticStart).toEqual([begin]);
    expect(byteLevel.encode([control('<|eot_id|>')])).toEqual([begin, turn]);
    expect(byteLevel.encode([], bare)).toEqual([]);
    expect(pieces.encode([control('</s>')])).toEqual([1, 2]);
    expect(byteLevel.idOf('<|eot_id|>')).toBe(turn);
    expect(byteLevel.isControl(turn)).toBe(true);
  });

  test('cannot be written by a user, whatever the text', () => {
    for (const tokenizer of [byteLevel, pieces]) {
      fc.assert(
        fc.property(hostile, (text) => {
          const ids = tokenizer.encode([control('<|eot_id|>'), user(text), control('<|eot_id|>')], bare);
          const wanted =
            tokenizer.encode([control('<|eot_id|>')], bare).filter((id) => tokenizer.isControl(id)).length * 2;
          // 0 stands for what no piece spells, and controls nothing.
          expect(ids.filter((id) => tokenizer.isControl(id) && id !== pieces.idOf('<unk>')).length).toBe(wanted);
        }),
        { numRuns: 300 },
      );
    }
  });

  test('not by a merge that makes one either', () => {
    expect(pieces.encode([user('</s>')], bare)).not.toContain(2);
    expect(pieces.decode(pieces.encode([user('</s>')], bare))).toBe('</s>');
  });

  test('are left out of what is shown', () => {
    expect(byteLevel.decode([made.idOf('<|eot_id|>'), ...byteLevel.encode([user('cat')], bare)])).toBe('cat');
    expect(byteLevel.decode([])).toBe('');
    expect(byteLevel.decode([1_000_000])).toBe('');
  });
});

describe('text as it comes', () => {
  const stream = async (tokenizer: Tokenizer, ids: readonly number[]): Promise<readonly string[]> => {
    const text = new TextStream(tokenizer);
    const pieces: string[] = [];
    for (const id of ids) pieces.push(await text.push(id));
    return [...pieces, await text.end()].filter((piece) => piece !== '');
  };

  test('in whole words, ideographs and newlines at once', async () => {
    expect(await stream(byteLevel, byteLevel.encode([user('The cat is blue\nand 你好')], bare))).toEqual([
      'The ',
      'cat ',
      'is ',
      'blue\n',
      'and ',
      '你',
      '好',
    ]);
  });

  test('never half a character', async () => {
    const ids = byteLevel.encode([user('a🦐b')], bare);
    expect(ids.length).toBe(6);
    expect((await stream(byteLevel, ids)).join('')).toBe('a🦐b');
    expect((await stream(byteLevel, ids)).some((piece) => piece.includes('\u{fffd}'))).toBe(false);
  });

  test('pieces keep their spaces', async () => {
    expect(await stream(pieces, pieces.encode([user('ab ab 你')], bare))).toEqual(['ab ', 'ab ', '你']);
  });

  test('a special token in an answer takes no space away', async () => {
    const [word = 0] = pieces.encode([user('ab')], bare);
    expect(pieces.decode([2, word, 2, 2, word])).toBe('ab ab');
    expect(await stream(pieces, [2, word, 2, 2, word])).toEqual(['ab ', 'ab']);
    // A space by itself is one only behind others, and the next word's stays.
    const space = pieces.idOf('▁') ?? 0;
    expect((await stream(pieces, [space, 2, word])).join('')).toBe(' ab');
  });

  test('is the same text as at once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !text.includes('\u{fffd}')),
        async (text) => {
          expect((await stream(byteLevel, byteLevel.encode([user(text)], bare))).join('')).toBe(text);
        },
      ),
    );
  });

  test('bytes that are not a character come out as marks, not never', async () => {
    const nonsense = Array.from({ length: 40 }, () => byteLevel.idOf('ÿ') ?? 0);
    expect((await stream(byteLevel, nonsense)).join('')).toContain('\u{fffd}');
  });
});

describe('refusals', () => {
  const refusal = (change: (json: Record<string, unknown>, model: Record<string, unknown>) => void): string => {
    const json = structuredClone(made.json) as Record<string, unknown>;
    change(json, json['model'] as Record<string, unknown>);
    try {
      return String(new Tokenizer(json, {}, 'some/tokenizer.json').size);
    } catch (error) {
      if (error instanceof OpabiniaError) return error.message;
      throw error;
    }
  };
  test('files that are not a tokenizer, or contradict themselves', () => {
    expect(
      refusal((json) => {
        delete json['model'];
      }),
    ).toContain('some/tokenizer.json has no model');
    expect(
      refusal((_, model) => {
        model['vocab'] = { a: 0, b: 0 };
      }),
    ).toContain('the id 0 to two tokens');
    expect(
      refusal((_, model) => {
        model['vocab'] = { a: -1 };
      }),
    ).toContain("gives 'a' the id -1");
    expect(
      refusal((_, model) => {
        model['merges'] = ['zz yy'];
      }),
    ).toContain("merge of 'zz' and 'yy'");
    expect(
      refusal((_, model) => {
        model['merges'] = ['abc'];
      }),
    ).toContain('which is not a pair');
    expect(
      refusal((json) => {
        json['added_tokens'] = [{ content: '', id: 3 }];
      }),
    ).toContain('no content or no id');
    expect(
      refusal((json) => {
        json['added_tokens'] = [{ content: 'a', id: 3, special: true }];
      }),
    ).toContain("gives 'a' the ids");
    expect(
      refusal((_, model) => {
        model['type'] = 'Magic';
        model['vocab'] = { a: 0 };
        model['merges'] = undefined;
      }),
    ).toContain('has a model of the type "Magic"; known are');
    expect(refusal(() => undefined)).toBe('672');
  });
  test('a text of more than a million characters', () => {
    expect(() => byteLevel.encode([user('a'.repeat(1_000_001))])).toThrow(OpabiniaError);
  });
});
