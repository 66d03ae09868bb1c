// The tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json would have it: byte BPE with its merges, or SentencePiece's
// pieces with their scores.
import { pieceKinds, pieceTokenizer, type Piece } from '../text/sentencepiece.ts';
import { Tokenizer } from '../text/tokenizer.ts';
import { GgufError, openGguf, type GgufFile } from './gguf-file.ts';
import { GgufSettings } from './gguf-settings.ts';

const words = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const gpt2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`;

/** Words of capitals and small letters apart, and what else belongs to one: of Mistral's tekken and of OpenAI's o200k. */
const upper = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const cased = (behind: string, numbers: string): string =>
  [
    String.raw`[^\r\n\p{L}\p{N}]?${upper}*${lower}+${behind}`,
    String.raw`[^\r\n\p{L}\p{N}]?${upper}+${lower}*${behind}`,
    numbers,
    String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ].join('|');

interface Splitting {
  /** Each splits what the one before it left. */
  readonly patterns: readonly string[];
  /** A piece that is a token as a whole is not merged. */
  readonly wholePieces?: boolean;
  /** Letters and their marks are composed first (NFC), as the model's own tokenizer does. */
  readonly composes?: boolean;
  /** Whether a text begins with the begin-of-text token where the file does not say. */
  readonly begins?: boolean;
}

const llama3: Splitting = { patterns: [words], wholePieces: true, begins: true };
const digits: Splitting = { patterns: [String.raw`\p{N}`, gpt2] };
const qwen2: Splitting = { patterns: [words.replace(String.raw`\p{N}{1,3}`, String.raw`\p{N}`)], composes: true };

/** By `tokenizer.ggml.pre`. */
const splittings: Readonly<Record<string, Splitting>> = {
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  qwen2,
  'deepseek-r1-qwen': qwen2,
  qwen35: {
    composes: true,
    patterns: [
      String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
  },
  tekken: { patterns: [cased('', String.raw`\p{N}`)], wholePieces: true, begins: true },
  // Phi-4 and Phi-4-mini.
  dbrx: { patterns: [words] },
  'gpt-4o': { patterns: [cased(`(?i:'s|'t|'re|'ve|'m|'ll|'d)?`, String.raw`\p{N}{1,3}`)] },
  'gpt-2': { patterns: [gpt2] },
  'phi-2': { patterns: [gpt2] },
  smollm: digits,
  starcoder: digits,
  'command-r': digits,
  refact: digits,
};

export interface GgufTokenizer {
  /** As tokenizer.json and tokenizer_config.json have it. */
  readonly json: object;
  readonly config: Readonly<Record<string, unknown>>;
  readonly chatTemplate: string | undefined;
}

/** Throws `GgufError` for a tokenizer of another kind, for an unknown way to split texts, and for lists that do not fit together. */
export function ggufTokenizer(file: GgufFile): GgufTokenizer {
  const settings = new GgufSettings(file);
  const model = settings.text('tokenizer.ggml.model');
  const tokens = settings.texts('tokenizer.ggml.tokens');
  const types = settings.has('tokenizer.ggml.token_type')
    ? settings.numbers('tokenizer.ggml.token_type')
    : tokens.map(() => 1);
  if (types.length !== tokens.length)
    throw new GgufError(file.path, `has ${tokens.length} tokens and ${types.length} types of them`);
  if (new Set(tokens).size < tokens.length) throw new GgufError(file.path, 'has a token twice');
  const spelled = (name: string): string | undefined => {
    const key = `tokenizer.ggml.${name}_token_id`;
    return settings.has(key) ? tokens[settings.number(key)] : undefined;
  };
  const special = Object.fromEntries(
    (
      [
        ['bos_token', 'bos'],
        ['eos_token', 'eos'],
        ['unk_token', 'unknown'],
        ['pad_token', 'padding'],
      ] as const
    ).flatMap(([name, key]) => {
      const token = spelled(key);
      return token === undefined ? [] : [[name, token] as const];
    }),
  );
  const chatTemplate = settings.has('tokenizer.chat_template') ? settings.text('tokenizer.chat_template') : undefined;
  const around = (begins: boolean) => ({
    ...special,
    add_bos_token: settings.flag('tokenizer.ggml.add_bos_token', begins),
    add_eos_token: settings.flag('tokenizer.ggml.add_eos_token', false),
  });
  if (model === 'llama') {
    const config = around(true);
    return { json: pieces(file, tokens, types, config), config, chatTemplate };
  }
  if (model !== 'gpt2')
    throw new GgufError(
      file.path,
      `has a tokenizer of the kind '${model.slice(0, 40)}'`,
      'known are llama (SentencePiece) and gpt2 (byte BPE)',
    );
  const pre = settings.text('tokenizer.ggml.pre', 'default');
  const splitting = Object.hasOwn(splittings, pre) ? splittings[pre] : undefined;
  if (splitting === undefined)
    throw new GgufError(
      file.path,
      `splits texts as '${pre.slice(0, 40)}' does`,
      `known are ${Object.keys(splittings).join(', ')}; another way would give other tokens`,
    );
  const config = around(splitting.begins ?? false);
  return { json: byteBpe(settings, tokens, types, splitting, config), config, chatTemplate };
}

/** In the process that calls: the sandbox, for files of strangers. Throws `OpabiniaError`. */
export async function readGgufTokenizer(path: string): Promise<Tokenizer> {
  const file = await openGguf(path);
  try {
    const { json, config, chatTemplate } = ggufTokenizer(file);
    return new Tokenizer(json, config, path, chatTemplate);
  } finally {
    file.close();
  }
}

function pieces(
  file: GgufFile,
  tokens: readonly string[],
  types: readonly number[],
  config: Readonly<Record<string, unknown>>,
): object {
  const settings = new GgufSettings(file);
  const scores = settings.numbers('tokenizer.ggml.scores');
  if (scores.length !== tokens.length)
    throw new GgufError(file.path, `has ${tokens.length} tokens and ${scores.length} scores`);
  const list = tokens.map((text, id): Piece => {
    const kind = pieceKinds[types[id] as keyof typeof pieceKinds] as Piece['kind'] | undefined;
    if (kind === undefined) throw new GgufError(file.path, `has a token of the type ${types[id]}`);
    return { text, score: scores[id] ?? 0, kind };
  });
  const json = pieceTokenizer(
    {
      pieces: list,
      type: 'bpe',
      byteFallback: list.some((piece) => piece.kind === 'byte'),
      table: new Uint8Array(),
      dummyPrefix: settings.flag('tokenizer.ggml.add_space_prefix', true),
      removeExtraSpaces: false,
    },
    config,
    {},
  );
  return settings.text('general.architecture') === 'phi3' ? takingBlanks(json) : json;
}

/**
 * Phi-3's own tokenizer.json has its control tokens take the blanks behind them, such as the line break of its chat template, but for those
 * around whole texts. No setting of a GGUF file says so; llama.cpp has the same list.
 */
function takingBlanks(json: ReturnType<typeof pieceTokenizer>): object {
  const taking = ({ content }: { readonly content: string }) => !['<unk>', '<s>', '<|endoftext|>'].includes(content);
  return { ...json, added_tokens: json.added_tokens.map((token) => ({ ...token, rstrip: taking(token) })) };
}

function byteBpe(
  settings: GgufSettings,
  tokens: readonly string[],
  types: readonly number[],
  { patterns, wholePieces = false, composes = false }: Splitting,
  config: Readonly<Record<string, unknown>>,
): object {
  const added = tokens.flatMap((content, id) =>
    types[id] === 3 || types[id] === 4
      ? [{ id, content, special: types[id] === 3, single_word: false, lstrip: false, rstrip: false, normalized: false }]
      : [],
  );
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: composes ? { type: 'NFC' } : null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        ...patterns.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })),
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: beginAndEnd(tokens, config),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: wholePieces,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: settings.texts('tokenizer.ggml.merges').map((merge) => merge.split(' ')),
    },
  };
}

/** Tokens around every text. */
function beginAndEnd(tokens: readonly string[], config: Readonly<Record<string, unknown>>): object | null {
  const wanted = (flag: string, token: string): readonly string[] =>
    config[flag] === true && typeof config[token] === 'string' ? [config[token]] : [];
  const [before, after] = [wanted('add_bos_token', 'bos_token'), wanted('add_eos_token', 'eos_token')];
  if (before.length + after.length === 0) return null;
  const part = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } });
  const text = (id: 'A' | 'B', type: number) => [
    ...before.map((token) => part(token, type)),
    { Sequence: { id, type_id: type } },
    ...after.map((token) => part(token, type)),
  ];
  return {
    type: 'TemplateProcessing',
    single: text('A', 0),
    pair: [...text('A', 0), ...text('B', 1)],
    special_tokens: Object.fromEntries(
      [...before, ...after].map((id) => [id, { id, ids: [tokens.indexOf(id)], tokens: [id] }]),
    ),
  };
}
