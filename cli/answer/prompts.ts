// Questions with pictures to the inputs of prefill: text in the model's template, ids, image blocks, padding, places of queries.
import { OpabiniaError } from '../../dsl/index.ts';
import { maskGrids, towerSide, type CambrianModel } from '../../models/cambrian-model.ts';
import { towerPixels } from '../../models/configs/towers.ts';
import { imagePlaceholder, layOutForInference, queryPlaces, type InferenceSample, type SequenceBatch } from '../../models/connectors/collate.ts';
import { batchMasks } from '../../models/connectors/masks.ts';
import { checkImagePosition, conversationParts, promptIds, type Turn } from '../../models/conversation.ts';
import { samplingSettings, type SamplingOptions } from '../../models/sampling.ts';
import type { Prompts } from '../../runtime/generate.ts';
import type { Image } from '../../runtime/image.ts';
import { checkAspectRatio, towerPicture } from '../../runtime/preprocess.ts';
import type { Inputs } from '../../runtime/program.ts';
import type { OpenedModel } from './open-model.ts';

export interface Question {
  readonly text: string;
  readonly images?: readonly Image[] | undefined;
  /** Instead of the template's own words. */
  readonly system?: string | undefined;
  /** What was said before, the user first. */
  readonly history?: readonly Turn[] | undefined;
}

/** How the released models find the image block: at the constant of their config, or where it really stands. */
export type BlockPosition = 'reference' | 'true';

export interface PromptOptions extends SamplingOptions {
  readonly seed?: number | undefined;
  /** By default the reference's, where it can be right: the template's own system words, and one image a prompt. */
  readonly position?: BlockPosition | undefined;
}

/** Prompts before they become inputs: enough to know whether they fit. */
export interface LaidOut {
  readonly batch: SequenceBatch;
  readonly pictures: readonly Image[];
  /** Tokens of each prompt. */
  readonly lengths: Int32Array;
  /** Tokens of text of each prompt. */
  readonly ids: readonly (readonly number[])[];
  readonly position: number | undefined;
}

/**
 * Throws `OpabiniaError` for an image model without an image, an image for a language model, and a picture of extreme aspect ratio.
 */
export function layOut(model: OpenedModel, questions: readonly Question[], options: PromptOptions): LaidOut {
  const { cambrian } = model;
  const side = cambrian?.config.connector.side ?? 1;
  const pictures: Image[] = [];
  const position = positionOf(model, questions, options);
  const samples = questions.map((question): InferenceSample => {
    const own = question.images ?? [];
    if (cambrian === undefined && own.length > 0) throw new OpabiniaError(`${own.length} images are given, and the model reads text only`, { op: 'prompt', advice: 'leave out --image, or give a Cambrian model' });
    own.forEach((image, i) => { if (cambrian !== undefined) checkAspectRatio(image, side, `image ${i + 1}`); });
    const ids = idsOf(model, question);
    if (cambrian !== undefined) checkImagePosition(ids, position);
    const first = pictures.length;
    pictures.push(...own);
    return { ids, images: own.map((_, i) => first + i) };
  });
  const batch = layOutForInference(samples, pictures, { side });
  const lengths = Int32Array.from(samples, (_, row) => batch.attend.subarray(row * batch.length, (row + 1) * batch.length).reduce((sum, there) => sum + there, 0));
  return { batch, pictures, lengths, position, ids: samples.map((sample) => Array.from(sample.ids).filter((id) => id !== imagePlaceholder)) };
}

function positionOf({ cambrian }: OpenedModel, questions: readonly Question[], options: PromptOptions): number | undefined {
  const plain = questions.every((question) => question.system === undefined && question.history === undefined && (question.images?.length ?? 0) <= 1);
  return (options.position ?? (plain ? 'reference' : 'true')) === 'reference' ? cambrian?.config.imagePosition : undefined;
}

function idsOf({ tokenizer, template, begin }: OpenedModel, { text, system, images = [], history = [] }: Question): readonly number[] {
  const asked: Turn = { role: 'user', text, images: images.length };
  const parts = conversationParts(template, [...history, asked], { system });
  return promptIds(template, parts, (chunk, encode) => tokenizer.encode(chunk, encode), { begin });
}

/** The inputs of prefill for `rows` rows; those without a question hold one token that nobody reads the answer of. */
export function toPrompts(model: OpenedModel, laid: LaidOut, rows: number, draw: 'greedy' | 'random', options: PromptOptions): Prompts {
  const { batch } = laid;
  const width = batch.length;
  const fill = (values: Int32Array, otherwise: number): Int32Array => {
    const all = new Int32Array(rows * width).fill(otherwise);
    all.set(values);
    return all;
  };
  const inputs: { [name: string]: Inputs[string] } = { ids: fill(batch.ids, 0), length: Int32Array.from({ length: rows }, (_, row) => laid.lengths[row] ?? 1) };
  const symbols: { [name: string]: number } = { s: width };
  if (model.cambrian !== undefined) {
    const { connector, schedule } = model.cambrian.config;
    // A picture that no slot shows stands for none at all.
    const images = Math.max(1, laid.pictures.length);
    symbols['images'] = images;
    inputs['slots'] = fill(batch.slots, -1);
    if (schedule !== undefined) {
      const places = queryPlaces(batch, images, connector.side, laid.position);
      inputs['query_place'] = places.place;
      inputs['query_slot'] = fill(places.slot, -1);
    }
  }
  if (draw === 'random') {
    const vocabulary = model.language.config.vocabulary;
    const seen = new Uint8Array(rows * vocabulary);
    laid.ids.forEach((ids, row) => { for (const id of ids) seen[row * vocabulary + id] = 1; });
    inputs['settings'] = samplingSettings(options);
    inputs['seed'] = Uint32Array.from({ length: rows }, (_, row) => (options.seed ?? 0) + row);
    inputs['seen'] = seen;
  }
  return { inputs, symbols, width };
}

/** The inputs of the graph of one picture. */
export function pictureInputs(model: CambrianModel, image: Image): Inputs {
  const { config, towers } = model;
  const sides = config.towers.map((tower) => tower.side);
  return Object.fromEntries([
    ...towers.map((tower, k) => [`pixels_${k}`, towerPicture(image, { ...towerPixels[tower.tower], side: towerSide(model, k) })] as const),
    ...maskGrids(model).flatMap((queries) => batchMasks([image], queries, { sides, finalSide: config.connector.side }).map((mask, k) => [`mask_${queries}_${k}`, mask.attend] as const)),
  ]);
}
