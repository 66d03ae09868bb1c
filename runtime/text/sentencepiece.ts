// `tokenizer.model` of SentencePiece, BPE and Unigram, as the JSON of the same tokenizer. The protocol buffer is read field by field
// (sentencepiece_model.proto); merges are made from the scores of pieces, as transformers' converter does: a symbol that
// was defined by hand stands apart, and what follows it begins anew, with a space in front.
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { OpabiniaError } from '../../dsl/error.ts';
import { tiedPieces } from './tied-merges.ts';
import { isObject, type Fields } from './tokenizer-json.ts';

/** Kinds of pieces, by their number in the file. */
export const pieceKinds = { 1: 'normal', 2: 'unknown', 3: 'control', 4: 'user', 5: 'unused', 6: 'byte' } as const;

export interface Piece {
  readonly text: string;
  readonly score: number;
  readonly kind: (typeof pieceKinds)[keyof typeof pieceKinds];
}

export interface PieceModel {
  readonly pieces: readonly Piece[];
  readonly type: 'unigram' | 'bpe';
  readonly byteFallback: boolean;
  /** Of Unicode's compatibility forms, by which texts are changed (`precompiled_charsmap`); empty where they are not. */
  readonly table: Uint8Array;
  readonly dummyPrefix: boolean;
  readonly removeExtraSpaces: boolean;
}

/** Pieces of a vocabulary, and characters of one. */
const limits = { pieces: 4_194_304, characters: 4_096 } as const;

/** An added token as tokenizer.json has it. */
interface Added {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/**
 * What `tokenizer.json` would say. `config` is tokenizer_config.json: its `added_tokens_decoder`, and which tokens stand around a text;
 * `added` are further tokens, as added_tokens.json has them. Throws `OpabiniaError` for a file that is damaged, or of another algorithm.
 */
export function sentencePieceJson(bytes: Uint8Array, config: unknown, added: unknown, where: string): object {
  return pieceTokenizer(readModel(bytes, where), config, added);
}

/** The same of a model that was read elsewhere. */
export function pieceTokenizer(
  model: PieceModel,
  config: unknown,
  added: unknown,
): { readonly added_tokens: readonly Added[]; readonly [field: string]: unknown } {
  const settings = isObject(config) ? config : {};
  const tokens = addedTokens(model, settings, added);
  const normalizers = [
    ...(model.table.length > 0
      ? [{ type: 'Precompiled', precompiled_charsmap: Buffer.from(model.table).toString('base64'), original: true }]
      : []),
    ...(model.removeExtraSpaces
      ? [
          { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' },
          { type: 'Replace', pattern: { Regex: '^ +| +$' }, content: '' },
        ]
      : []),
    ...(model.dummyPrefix && settings['legacy'] !== false ? [{ type: 'Prepend', prepend: '▁' }] : []),
    { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
  ];
  const first = model.dummyPrefix && settings['legacy'] === false;
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: tokens.map((token) => ({
      ...token,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: { type: 'Sequence', normalizers },
    pre_tokenizer: first ? { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false } : null,
    post_processor: around(model, settings),
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(model.dummyPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: model.type === 'bpe' ? bpe(model) : unigram(model),
  };
}

// ---- the file --------------------------------------------------------------------------------------------------------

function readModel(bytes: Uint8Array, where: string): PieceModel {
  const refuse = (what: string, cause?: unknown) =>
    new OpabiniaError(`${where} ${what}`, {
      op: 'tokenizer',
      cause,
      advice: 'the file is damaged, or no tokenizer.model of SentencePiece; get it again',
    });
  const pieces: Piece[] = [];
  const trainer = { type: 1, byteFallback: false, suffix: false };
  const normalizer = { table: new Uint8Array(), dummyPrefix: true, removeExtraSpaces: true };
  try {
    fields(bytes, (field, reader) => {
      if (field === 1) pieces.push(readPiece(reader.bytes()));
      else if (field === 2)
        fields(reader.bytes(), (of, own) => {
          if (of === 3) trainer.type = own.int32();
          else if (of === 24) trainer.suffix = own.bool();
          else if (of === 35) trainer.byteFallback = own.bool();
          else return false;
          return true;
        });
      else if (field === 3)
        fields(reader.bytes(), (of, own) => {
          if (of === 2) normalizer.table = own.bytes().slice();
          else if (of === 3) normalizer.dummyPrefix = own.bool();
          else if (of === 4) normalizer.removeExtraSpaces = own.bool();
          else return false;
          return true;
        });
      else return false;
      if (pieces.length > limits.pieces) throw new RangeError(`it has more than ${limits.pieces} pieces`);
      return true;
    });
  } catch (cause) {
    throw refuse(`cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  if (pieces.length === 0) throw refuse('has no pieces');
  if (trainer.type !== 1 && trainer.type !== 2)
    throw refuse(
      `is of ${trainer.type === 3 ? 'words' : trainer.type === 4 ? 'characters' : 'an unknown kind'}, not BPE or Unigram`,
    );
  if (trainer.suffix) throw refuse('marks the ends of words and not their beginnings (treat_whitespace_as_suffix)');
  const texts = new Set(pieces.map((piece) => piece.text));
  if (texts.size < pieces.length) throw refuse('has a piece twice');
  return { pieces, type: trainer.type === 2 ? 'bpe' : 'unigram', byteFallback: trainer.byteFallback, ...normalizer };
}

/** Calls `take` for each field of a message; where it takes none, the field is skipped. */
function fields(bytes: Uint8Array, take: (field: number, reader: BinaryReader) => boolean): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (wire === WireType.StartGroup || wire === WireType.EndGroup) throw new RangeError(`field ${field} is a group`);
    if (!take(field, reader)) reader.skip(wire, field);
  }
}

function readPiece(bytes: Uint8Array): Piece {
  let [text, score, kind] = ['', 0, 1];
  fields(bytes, (field, reader) => {
    if (field === 1) text = reader.string();
    else if (field === 2) score = reader.float();
    else if (field === 3) kind = reader.int32();
    else return false;
    return true;
  });
  const known = pieceKinds[kind as keyof typeof pieceKinds] as Piece['kind'] | undefined;
  if (known === undefined) throw new RangeError(`a piece is of kind ${kind}`);
  if (text === '' || text.length > limits.characters) throw new RangeError(`a piece has ${text.length} characters`);
  if (!Number.isFinite(score)) throw new RangeError(`'${text.slice(0, 40)}' has the score ${score}`);
  return { text, score, kind: known };
}

// ---- its parts -------------------------------------------------------------------------------------------------------

/** Later lists win over the file itself only where they name an id that it has not. */
function addedTokens({ pieces }: PieceModel, settings: Fields, more: unknown): readonly Added[] {
  const tokens = new Map<string, Added>();
  pieces.forEach(({ text, kind }, id) => {
    if (kind === 'control' || kind === 'unknown') tokens.set(text, { id, content: text, special: true });
    else if (kind === 'user') {
      // Looked for where spaces are marks already, such as Gemma's runs of them; here they are found in a text as it is.
      const content = text.replaceAll('▁', ' ');
      tokens.set(content, { id, content, special: false });
    }
  });
  const decoder = settings['added_tokens_decoder'];
  const stated = isObject(decoder)
    ? Object.entries(decoder).flatMap(([id, token]) =>
        isObject(token) && typeof token['content'] === 'string'
          ? [{ id: Number(id), content: token['content'], special: token['special'] === true }]
          : [],
      )
    : [];
  const listed = isObject(more)
    ? Object.entries(more).flatMap(([content, id]) =>
        typeof id === 'number' ? [{ id, content, special: tokens.get(content)?.special ?? false }] : [],
      )
    : [];
  for (const token of [...listed, ...stated]) if (token.content !== '') tokens.set(token.content, token);
  return [...tokens.values()].sort((a, b) => a.id - b.id);
}

/** Tokens around every text: Llama's begin-of-text, T5's end; what the config says wins. */
function around({ pieces }: PieceModel, settings: Fields): object | null {
  const kind = String(settings['tokenizer_class'] ?? '');
  const spelling = (name: string, otherwise: string): string => {
    const value = settings[name];
    const text: unknown = isObject(value) ? value['content'] : value;
    return typeof text === 'string' ? text : otherwise;
  };
  const idOf = (text: string): number => pieces.findIndex((piece) => piece.text === text);
  const wanted = (name: string, otherwise: boolean): boolean =>
    typeof settings[name] === 'boolean' ? settings[name] : otherwise;
  const [begin, end] = [spelling('bos_token', '<s>'), spelling('eos_token', '</s>')];
  const before = wanted('add_bos_token', /^(?:Llama|CodeLlama|Gemma)/.test(kind)) && idOf(begin) >= 0 ? [begin] : [];
  const after = wanted('add_eos_token', /^(?:M?T5)/.test(kind)) && idOf(end) >= 0 ? [end] : [];
  if (before.length + after.length === 0) return null;
  const token = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } });
  const single = [
    ...before.map((id) => token(id, 0)),
    { Sequence: { id: 'A', type_id: 0 } },
    ...after.map((id) => token(id, 0)),
  ];
  return {
    type: 'TemplateProcessing',
    single,
    pair: [
      ...single,
      ...before.map((id) => token(id, 1)),
      { Sequence: { id: 'B', type_id: 1 } },
      ...after.map((id) => token(id, 1)),
    ],
    special_tokens: Object.fromEntries([...before, ...after].map((id) => [id, { id, ids: [idOf(id)], tokens: [id] }])),
  };
}

function unknownOf(pieces: readonly Piece[]): number {
  return pieces.findIndex((piece) => piece.kind === 'unknown');
}

/** Every way to split a normal piece into two pieces is a merge; those of better pieces come first. */
function bpe({ pieces, byteFallback }: PieceModel): object {
  const ids = new Map(
    pieces.flatMap(({ text, kind }, id) => (kind === 'normal' || kind === 'user' ? [[text, id] as const] : [])),
  );
  const merges = pieces.flatMap(({ text, score, kind }) => {
    if (kind !== 'normal') return [];
    const splits: {
      readonly pair: readonly [string, string];
      readonly score: number;
      readonly order: readonly [number, number];
    }[] = [];
    for (let at = 1; at < text.length; at++) {
      const [left, right] = [text.slice(0, at), text.slice(at)];
      const order = [ids.get(left), ids.get(right)] as const;
      if (order[0] !== undefined && order[1] !== undefined)
        splits.push({ pair: [left, right], score, order: [order[0], order[1]] });
    }
    return splits.sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1]);
  });
  return {
    type: 'BPE',
    dropout: null,
    unk_token: pieces[unknownOf(pieces)]?.text ?? null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: byteFallback,
    vocab: Object.fromEntries(pieces.map(({ text }, id) => [text, id])),
    merges: merges.sort((a, b) => b.score - a.score).map(({ pair }) => pair),
    [tiedPieces]: tied(pieces),
  };
}

/** The texts of normal pieces that share a score. */
function tied(pieces: readonly Piece[]): readonly (readonly string[])[] {
  const byScore = Map.groupBy(
    pieces.filter(({ kind }) => kind === 'normal'),
    ({ score }) => score,
  );
  return [...byScore.values()].filter((list) => list.length > 1).map((list) => list.map(({ text }) => text));
}

/** Bytes and unused pieces are never what a text spells: the latter get names that none has, the former the worst score. */
function unigram({ pieces, byteFallback }: PieceModel): object {
  const worst = leastScore(pieces) - 1000;
  return {
    type: 'Unigram',
    unk_id: unknownOf(pieces),
    byte_fallback: byteFallback,
    vocab: pieces.map(({ text, score, kind }, id) =>
      kind === 'unused' ? [`\u{e000}unused${id}\u{e001}`, worst] : [text, kind === 'byte' ? worst : score],
    ),
  };
}

function leastScore(pieces: readonly Piece[]): number {
  return pieces.reduce((least, { score, kind }) => (kind === 'normal' ? Math.min(least, score) : least), 0);
}
