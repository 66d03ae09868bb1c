// `tokenizer.json` checked beyond what the library checks: vocabulary and merges agree, ids are whole; and control tokens renamed.
import { OpabiniaError } from '../../dsl/error.ts';

export interface AddedToken {
  readonly content: string;
  readonly id: number;
  readonly special: boolean;
  /** Only where no letter or digit stands beside it. */
  readonly apart: boolean;
  /** It is looked for when texts have been changed, and begins with the mark that is put in front of each: it is one only behind a space. */
  readonly behindSpace: boolean;
  /** Blanks in front of it and behind it belong to it, of a token that is looked for in texts as they are. */
  readonly takesBefore: boolean;
  readonly takesBehind: boolean;
}

interface Checked {
  readonly json: object;
  readonly added: readonly AddedToken[];
  readonly size: number;
  /** Tokens of the vocabulary that are spelled like control tokens. */
  readonly spelled: ReadonlyMap<string, number>;
}

/** `<s>`, `[CLS]`, and the bytes `<0x0A>`. */
const spelledLikeControl = /^(?:<[^<>\s]{1,62}>|\[[^[\]\s]{1,62}\])$/;

const idLimit = 4_194_304;
const modelTypes: readonly unknown[] = ['BPE', 'Unigram', 'WordPiece'];

export type Fields = Readonly<Record<string, unknown>>;
export const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Runs of spaces that some tokenizers add to their vocabulary control nothing. */
export function isBlank(token: AddedToken): boolean {
  return !token.special && token.content.trim() === '';
}

/** Markup of turns, ends of texts, and places of pictures and sounds, whatever a file says of them. */
const markup =
  /^<[|｜]|[|｜]>$|^\[\/?[A-Z_]+\]$|^<\/?(?:s|pad|unk|bos|eos|cls|sep|mask)>$|image|img|picture|vision|video|audio/iu;

/**
 * A word that was added to a vocabulary, such as a place in a picture, and that anybody may write: not special, not spelled by a chat
 * template nor listed among the tokens of a config (`texts` are both), and no markup.
 */
export function isWord({ special, content }: AddedToken, texts: readonly string[]): boolean {
  return !special && !markup.test(content) && !texts.some((text) => text.includes(content));
}

/** Throws `OpabiniaError` for what is not a tokenizer, and for vocabularies, merges and added tokens that contradict each other. */
export function checkTokenizerJson(json: unknown, where: string): Checked {
  const refuse = (what: string) =>
    new OpabiniaError(`${where} ${what}`, {
      op: 'tokenizer',
      advice: 'the file is damaged, or no tokenizer.json of Hugging Face; get it again',
    });
  const model = isObject(json) ? json['model'] : undefined;
  if (!isObject(json) || !isObject(model)) throw refuse('has no model');
  // The library takes whatever it does not know for an older tokenizer.
  const type = model['type'];
  if (type !== undefined && !modelTypes.includes(type))
    throw refuse(`has a model of the type ${JSON.stringify(type).slice(0, 80)}; known are ${modelTypes.join(', ')}`);
  const ids = readVocabulary(model, refuse);
  const added = readAdded(json['added_tokens'], hasStep(json['normalizer'], 'Prepend'), refuse);
  for (const { content, id } of added) {
    const stored = ids.get(content);
    if (stored !== undefined && stored !== id)
      throw refuse(`gives '${content.slice(0, 80)}' the ids ${stored} and ${id}`);
  }
  checkMerges(model, ids, refuse);
  let size = 0;
  for (const id of [...ids.values(), ...added.map((token) => token.id)]) size = Math.max(size, id + 1);
  const spelled = new Map([...ids].filter(([token]) => token.length <= 64 && spelledLikeControl.test(token)));
  return { json, added, size, spelled };
}

type Refuse = (what: string) => OpabiniaError;

function readVocabulary(model: Fields, refuse: Refuse): ReadonlyMap<string, number> {
  const { vocab } = model;
  // Unigram has a list of pieces with scores, whose ids are their places.
  if (Array.isArray(vocab)) {
    if (
      vocab.length > idLimit ||
      !vocab.every(
        (piece: unknown) => Array.isArray(piece) && typeof piece[0] === 'string' && typeof piece[1] === 'number',
      )
    )
      throw refuse('has a vocabulary that is not a list of pieces and scores');
    return new Map(vocab.map((piece: readonly [string, number], i) => [piece[0], i]));
  }
  if (!isObject(vocab)) throw refuse('has no vocabulary');
  const ids = new Map<string, number>();
  const used = new Set<number>();
  for (const [token, id] of Object.entries(vocab)) {
    if (!isId(id)) throw refuse(`gives '${token.slice(0, 80)}' the id ${JSON.stringify(id)}`);
    if (used.has(id)) throw refuse(`gives the id ${id} to two tokens, one of them '${token.slice(0, 80)}'`);
    used.add(id);
    ids.set(token, id);
  }
  return ids;
}

const isId = (id: unknown): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < idLimit;

/** Is there a step of this kind in how texts are changed, one in which `content` is written? */
function hasStep(normalizer: unknown, type: string, content?: string): boolean {
  if (!isObject(normalizer)) return false;
  const { normalizers } = normalizer;
  if (Array.isArray(normalizers)) return normalizers.some((step) => hasStep(step, type, content));
  return normalizer['type'] === type && (content === undefined || normalizer['content'] === content);
}

/** Is it looked for when texts have been changed? */
const isLate = (token: Fields): boolean => (token['normalized'] ?? token['special'] !== true) === true;

function readAdded(list: unknown, isMarked: boolean, refuse: Refuse): readonly AddedToken[] {
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list) || list.length > 100_000) throw refuse('has added_tokens that are not a list');
  return list.map((token: unknown): AddedToken => {
    if (!isObject(token) || typeof token['content'] !== 'string' || token['content'] === '' || !isId(token['id']))
      throw refuse(`has the added token ${JSON.stringify(token).slice(0, 80)}, which has no content or no id`);
    return {
      content: token['content'],
      id: token['id'],
      special: token['special'] === true,
      apart: token['single_word'] === true,
      behindSpace: isMarked && isLate(token),
      takesBefore: token['lstrip'] === true && !(isMarked && isLate(token)),
      takesBehind: token['rstrip'] === true && !(isMarked && isLate(token)),
    };
  });
}

/** What a file beside tokenizer.json can say of an added token that is in both. */
const manners = ['lstrip', 'rstrip', 'single_word', 'normalized'] as const;

/**
 * The tokenizer with the added tokens that files beside it state, as transformers adds them: `added_tokens_decoder` of
 * tokenizer_config.json (`config`) and added_tokens.json (`listed`). Of a token that is in both, the config says what stands around it;
 * a new one counts where nothing else has its id. What is no such list is left alone: nothing needs it.
 */
export function withStatedTokens(json: unknown, config: unknown, listed: unknown): unknown {
  const model = isObject(json) ? json['model'] : undefined;
  if (!isObject(json) || !isObject(model)) return json;
  const own = json['added_tokens'] ?? [];
  if (!Array.isArray(own) || !own.every(isObject)) return json;
  const decoder = isObject(config) ? config['added_tokens_decoder'] : undefined;
  const stated = new Map<string, Fields>();
  for (const [content, id] of Object.entries(isObject(listed) ? listed : {})) stated.set(content, { id, content });
  for (const [id, token] of Object.entries(isObject(decoder) ? decoder : {}))
    if (isObject(token) && typeof token['content'] === 'string')
      stated.set(token['content'], { ...token, id: Number(id) });
  const vocabulary = new Map<unknown, unknown>(
    Array.isArray(model['vocab'])
      ? model['vocab'].map((piece: unknown, id) => [Array.isArray(piece) ? piece[0] : undefined, id])
      : Object.entries(isObject(model['vocab']) ? model['vocab'] : {}),
  );
  const used = new Set<unknown>([...vocabulary.values(), ...own.map((token) => token['id'])]);
  const known = new Set(own.map((token) => token['content']));
  const added = [...stated.values()].filter(({ id, content }) => {
    if (content === '' || known.has(content) || !isId(id)) return false;
    return vocabulary.has(content) ? vocabulary.get(content) === id : !used.has(id);
  });
  const changed = own.map((token) => {
    const other = stated.get(String(token['content']));
    const says = manners.filter((manner) => typeof other?.[manner] === 'boolean');
    return says.length === 0
      ? token
      : { ...token, ...Object.fromEntries(says.map((manner) => [manner, other?.[manner]])) };
  });
  return { ...json, added_tokens: [...changed, ...added] };
}

/** Every merge joins two tokens of the vocabulary to a third. The library would take a merge that does not, and spell something else. */
function checkMerges(model: Fields, ids: ReadonlyMap<string, number>, refuse: Refuse): void {
  const { merges } = model;
  if (merges === undefined || merges === null) return;
  if (!Array.isArray(merges)) throw refuse('has merges that are not a list');
  for (const merge of merges as readonly unknown[]) {
    const [left, right, ...more] = splitMerge(merge);
    if (left === undefined || right === undefined || more.length > 0)
      throw refuse(`has the merge ${JSON.stringify(merge).slice(0, 80)}, which is not a pair`);
    if (!ids.has(left) || !ids.has(right) || !ids.has(left + right))
      throw refuse(
        `has the merge of '${left.slice(0, 40)}' and '${right.slice(0, 40)}', but not all three in its vocabulary`,
      );
  }
}

function splitMerge(merge: unknown): readonly string[] {
  if (typeof merge === 'string') return merge.split(' ');
  return Array.isArray(merge) && merge.every((part: unknown) => typeof part === 'string') ? merge : [];
}

/**
 * The tokenizer with these tokens under other names, in the list of added tokens and in the vocabulary; merges that make or use one
 * are dropped, so that no text is merged into a control token. Nothing else of the file is touched, and nothing adds tokens by itself.
 */
export function renamed(json: object, names: ReadonlyMap<string, string>): object {
  const fields = json as Fields;
  const { normalizer } = fields;
  const isMarked = hasStep(normalizer, 'Prepend');
  const hasNoSpaces = hasStep(normalizer, 'Replace', '▁');
  const model = fields['model'] as Fields;
  const unknown = model['unk_token'];
  const name = (content: string): string => names.get(content) ?? content;
  const { vocab } = model;
  // The token for what is unknown keeps a name that no text has: the model falls back to it by name.
  const renamedVocab = Array.isArray(vocab)
    ? vocab.map((piece: readonly [string, number]) => [name(piece[0]), piece[1]])
    : Object.fromEntries(Object.entries(vocab as Fields).map(([token, id]) => [name(token), id]));
  const merges = Array.isArray(model['merges'])
    ? (model['merges'] as readonly unknown[]).filter((merge) => {
        const [left = '', right = ''] = splitMerge(merge);
        return !names.has(left) && !names.has(right) && !names.has(left + right);
      })
    : model['merges'];
  const added = Array.isArray(fields['added_tokens'])
    ? (fields['added_tokens'] as readonly Fields[]).map((token) => ({
        ...token,
        content: name(String(token['content'])),
        // Where nothing is put in front, a name is the same in a changed text.
        ...(isMarked ? {} : { normalized: false }),
        // In a changed text there are no spaces left that one could take along; in the others they are taken before.
        ...(hasNoSpaces || !(isMarked && isLate(token)) ? { lstrip: false, rstrip: false } : {}),
      }))
    : [];
  return {
    ...fields,
    post_processor: null,
    added_tokens: added,
    model: {
      ...model,
      vocab: renamedVocab,
      ...(merges === undefined ? {} : { merges }),
      ...(typeof unknown === 'string' ? { unk_token: name(unknown) } : {}),
    },
  };
}

/** For texts of ids: a token that is one only behind a space brings it along. */
export function spaced(json: object, added: readonly AddedToken[]): object {
  const behind = new Set(added.filter((token) => token.behindSpace).map(({ id }) => id));
  if (behind.size === 0) return json;
  const fields = json as Fields;
  const tokens = (fields['added_tokens'] as readonly Fields[]).map((token) =>
    behind.has(Number(token['id'])) ? { ...token, content: `▁${String(token['content'])}`, normalized: false } : token,
  );
  return { ...fields, added_tokens: tokens };
}

/** Ids of the 256 bytes, and of what no piece spells. */
export interface ByteIds {
  readonly ids: readonly number[];
  readonly unknown: number;
}

/** Undefined for every tokenizer but a Unigram that falls back to bytes, and for one that has not all of them. */
export function unigramBytes(json: object): ByteIds | undefined {
  const model = (json as Fields)['model'] as Fields;
  if (model['byte_fallback'] !== true || !Array.isArray(model['vocab']) || !isId(model['unk_id'])) return undefined;
  const places = new Map((model['vocab'] as readonly (readonly [string, number])[]).map(([piece], id) => [piece, id]));
  const ids = Array.from({ length: 256 }, (_, byte) =>
    places.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
  );
  return ids.every((id) => id !== undefined) ? { ids, unknown: model['unk_id'] } : undefined;
}
