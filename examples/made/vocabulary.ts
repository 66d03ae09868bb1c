// A byte-level BPE tokenizer made from a few sentences, in the files of Hugging Face: 256 bytes, merges learned here, control tokens.
import { systemText } from '../../models/sequence/conversation.ts';

/** Llama 3's control tokens, in the order of its own ids. */
export const controlTokens = [
  '<|begin_of_text|>',
  '<|end_of_text|>',
  '<|reserved_special_token_0|>',
  '<|reserved_special_token_1|>',
  '<|reserved_special_token_2|>',
  '<|reserved_special_token_3|>',
  '<|start_header_id|>',
  '<|end_header_id|>',
  '<|reserved_special_token_4|>',
  '<|eot_id|>',
  ...Array.from({ length: 6 }, (_, i) => `<|reserved_special_token_${i + 5}|>`),
] as const;

const corpus = [
  systemText('llama_3'),
  systemText('vicuna_v1'),
  'system user assistant',
  'What is in this picture? What do you see in the image? Describe the photograph in one sentence. How many are there? Where is the cat? What color is it?',
  'There is a cat sitting on the table and looking at the camera. The picture shows a person with a red cup of coffee. A dog runs over the green grass in front of a white house.',
  'On the left there are two trees, on the right a street with cars and people. The sky is blue and the light is warm. It was taken in the morning, near the water.',
  'The text on the sign says open. I can not tell from this image. Yes. No. Answer the question using a single word or phrase.',
].join('\n');

/** GPT-2's letters for bytes: printable ones stand for themselves, the others for code points from 256 on. */
const letters: readonly string[] = (() => {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
})();

/** The words that GPT-2 splits a text into, as the library's `ByteLevel` does. */
const gpt2Words = String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
/** The same with letters and digits in one word: `b3`. */
const mixedWords = String.raw` ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

type Pair = readonly [left: string, right: string];

/** The most frequent pair becomes a token, again and again; of equals the first in the order of code points, so that the result is one. */
function learnMerges(text: string, words: string, count: number): readonly Pair[] {
  const seen = new Map<string, number>();
  for (const [word] of text.matchAll(new RegExp(words, 'gu'))) seen.set(word, (seen.get(word) ?? 0) + 1);
  const pieces = [...seen].map(([word, times]) => ({
    times,
    parts: [...Buffer.from(word)].map((byte) => letters[byte] ?? ''),
  }));
  const merges: Pair[] = [];
  while (merges.length < count) {
    const pairs = new Map<string, { pair: Pair; times: number }>();
    for (const { times, parts } of pieces) {
      for (let i = 0; i + 1 < parts.length; i++) {
        const pair: Pair = [parts[i] ?? '', parts[i + 1] ?? ''];
        const key = pair.join(' ');
        pairs.set(key, { pair, times: (pairs.get(key)?.times ?? 0) + times });
      }
    }
    const [best] = [...pairs].sort(([a, x], [b, y]) => y.times - x.times || (a < b ? -1 : 1));
    if (best === undefined) break;
    const { pair } = best[1];
    merges.push(pair);
    for (const piece of pieces) piece.parts = joined(piece.parts, pair);
  }
  return merges;
}

function joined(parts: readonly string[], [left, right]: Pair): string[] {
  const out: string[] = [];
  for (let i = 0; i < parts.length; i++) {
    const found = parts[i] === left && parts[i + 1] === right;
    out.push(found ? left + right : (parts[i] ?? ''));
    if (found) i++;
  }
  return out;
}

export interface MadeTokenizer {
  /** Contents of tokenizer.json. */
  readonly json: object;
  readonly config: object;
  readonly idOf: (token: string) => number;
}

const chatTemplate = [
  '{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>',
  "{% for part in message.content %}{% if part.type == 'image' %}<image>\n{% else %}{{ part.text | trim }}{% endif %}{% endfor %}<|eot_id|>{% endfor %}",
  '{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>{% endif %}',
].join('');

/** What a family of tokenizers has besides words. */
export interface TokenizerStyle {
  /** The first begins every text. */
  readonly controls: readonly [begin: string, ...string[]];
  readonly end: string;
  /** What the words are learned from; by default a few sentences about photographs. */
  readonly corpus?: string | undefined;
  /** In `tokenizer_config.json`; absent when there is none. */
  readonly chatTemplate?: string | undefined;
  /** A space before every text and behind every control token, as Llama 2 has it: a word is the same token at the start and inside. */
  readonly prefixSpace?: boolean | undefined;
  /** Whether a word may have both letters and digits. */
  readonly mixedWords?: boolean | undefined;
}

const llama3: TokenizerStyle = { controls: controlTokens, end: '<|eot_id|>', chatTemplate };

const byteLevel = (add_prefix_space: boolean) =>
  ({ type: 'ByteLevel', add_prefix_space, trim_offsets: true, use_regex: true }) as const;

/** `size` tokens, control tokens last. */
export function makeTokenizer(
  size: number,
  {
    controls,
    end,
    chatTemplate: template,
    corpus: text = corpus,
    prefixSpace = false,
    mixedWords: mixed = false,
  }: TokenizerStyle = llama3,
): MadeTokenizer {
  const merges = learnMerges(text, mixed ? mixedWords : gpt2Words, size - 256 - controls.length);
  const tokens = [...letters, ...merges.map(([left, right]) => left + right)];
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const firstControl = size - controls.length;
  const added = controls.map((content, i) => ({
    id: firstControl + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const ids = new Map<string, number>([
    ...Object.entries(vocab),
    ...added.map((token) => [token.content, token.id] as const),
  ]);
  const [begin] = controls;
  return {
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: prefixSpace ? { type: 'Prepend', prepend: ' ' } : null,
      pre_tokenizer: mixed
        ? {
            type: 'Sequence',
            pretokenizers: [
              { type: 'Split', pattern: { Regex: mixedWords }, behavior: 'Isolated', invert: false },
              { ...byteLevel(false), use_regex: false },
            ],
          }
        : byteLevel(false),
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: begin, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [
          { SpecialToken: { id: begin, type_id: 0 } },
          { Sequence: { id: 'A', type_id: 0 } },
          { Sequence: { id: 'B', type_id: 1 } },
        ],
        special_tokens: { [begin]: { id: begin, ids: [firstControl], tokens: [begin] } },
      },
      decoder: prefixSpace
        ? { type: 'Sequence', decoders: [byteLevel(true), { type: 'Strip', content: ' ', start: 1, stop: 0 }] }
        : byteLevel(true),
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab,
        merges: merges.map((pair) => pair.join(' ')),
      },
    },
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: begin,
      eos_token: end,
      clean_up_tokenization_spaces: false,
      model_max_length: 4096,
      ...(template === undefined ? {} : { chat_template: template }),
    },
    idOf: (token) => ids.get(token) ?? -1,
  };
}
