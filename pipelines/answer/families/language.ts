// A language model by itself answers: the directory's own chat template, or a conversation template where it has none.
import { plural } from '../../../dsl/text/plural.ts';
import { OpabiniaError } from '../../../dsl/index.ts';
import { decoderShapes } from '../../../models/configs/decoder-shapes.ts';
import { templateFor } from '../../../models/sequence/conversation.ts';
import type { LanguageModel } from '../../../models/decoders/decoder.ts';
import { decodeGraph, prefillGraph } from '../../../models/decoders/generation-graphs.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import type { SandboxTokenizer } from '../../../runtime/text/open-tokenizer.ts';
import type { AnswerSizes, Family, FamilyPlan, LaidOut, Opening, Question } from '../family.ts';
import { beginToken, ownTemplate, templateIds } from '../templates.ts';

/** Ids of a question, with whatever begins a text. */
type QuestionIds = (question: Question) => Promise<readonly number[]>;

/** Throws `OpabiniaError` for a chat template that cannot be read. */
export function planLanguage(language: LanguageModel, opening: Opening): FamilyPlan {
  const ids = questionIds(opening);
  return {
    language,
    upright: false,
    towers: [],
    title: 'a language model',
    parts: [{ name: 'language model', what: describeLanguage(language), owns: () => true }],
    unread: { 'preprocessor_config.json': noPictures, 'processor_config.json': noPictures },
    wanted: () => ({ shapes: decoderShapes(language), layout: 'transformers' }),
    family: (source, tokenizer) => new LanguageFamily(language, source, ids(tokenizer)),
  };
}

const noPictures = 'the model reads text only';

/** `6 layers of 192, 6 heads over 2 of keys, 672 tokens known, 1024 positions`. */
export function describeLanguage({ config }: LanguageModel): string {
  const { layers, hidden, heads, keyValueHeads, vocabulary, maxPositions, tied } = config;
  const keys = keyValueHeads === heads ? '' : ` over ${keyValueHeads} of keys`;
  return `${plural(layers, 'layer')} of ${hidden}, ${plural(heads, 'head')}${keys}, a vocabulary of ${vocabulary}${tied ? ', head tied to it' : ''}, ${plural(maxPositions, 'position')}`;
}

function questionIds({ files, json }: Opening): (tokenizer: SandboxTokenizer) => QuestionIds {
  const own = ownTemplate(files);
  // A chat template writes the begin-of-text token itself, or the model has none: nothing is added, as in transformers' `apply_chat_template`.
  if (own !== undefined)
    return (tokenizer) => async (question) =>
      tokenizer.encode(
        (await own(question)).filter((part) => part.kind !== 'image'),
        { automatic: false },
      );
  return (tokenizer) => {
    const guessed = templateFor((token) => tokenizer.idOf(token) !== undefined);
    return (question) => templateIds(guessed, tokenizer, beginToken(json), question);
  };
}

class LanguageFamily implements Family {
  readonly language: LanguageModel;
  readonly vision = undefined;
  readonly #source: Source;
  readonly #ids: QuestionIds;

  constructor(language: LanguageModel, source: Source, ids: QuestionIds) {
    this.language = language;
    this.#source = source;
    this.#ids = ids;
  }

  prefill = (sizes: AnswerSizes) => prefillGraph(this.#source, this.language, sizes);
  decode = (sizes: AnswerSizes) => decodeGraph(this.#source, this.language, sizes);
  readonly decodeParts = {};

  /** Throws `OpabiniaError` for an image, and for a prompt of no tokens. */
  layOut = async (questions: readonly Question[]): Promise<LaidOut> => {
    const images = questions.flatMap((question) => question.images ?? []).length;
    if (images > 0)
      throw new OpabiniaError(`${plural(images, 'image is', 'images are')} given, and the model reads text only`, {
        op: 'prompt',
        advice:
          'leave the picture (--image) out, or give a model that sees; one in GGUF sees by its mmproj, which is given as --tower',
      });
    const ids: (readonly number[])[] = [];
    // One after the other: templates and tokenizers run in one process.
    for (const question of questions) ids.push(await this.#ids(question));
    if (ids.some((row) => row.length === 0))
      throw new OpabiniaError('the chat template makes a prompt without tokens', {
        op: 'prompt',
        advice: 'see chat_template in the model directory',
      });
    const width = Math.max(0, ...ids.map((row) => row.length));
    const values = new Int32Array(ids.length * width);
    ids.forEach((row, b) => values.set(row, b * width));
    return {
      width,
      lengths: Int32Array.from(ids, (row) => row.length),
      ids,
      pictures: 0,
      views: [],
      rows: { ids: { values, otherwise: 0 } },
      inputs: {},
      symbols: {},
    };
  };
}
