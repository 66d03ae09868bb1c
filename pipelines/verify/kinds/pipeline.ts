// Golden kind of the whole path from tower features to the LLM's hidden states, in the inference and in the training layout.
import { gather, OpabiniaError, rearrange, trace, type Params, type Tensor, type Trace } from '../../../dsl/index.ts';
import {
  decodeWithVision,
  embedSequence,
  type Decoder,
  type Hidden,
  type LlmVision,
  type SequenceTensors,
} from '../../../models/multimodal/cambrian.ts';
import {
  collateForTraining,
  imagePlaceholder,
  layOutForInference,
  queryPlaces,
  type InferenceSample,
  type PaddingSide,
  type SequenceBatch,
  type TrainingBatch,
} from '../../../models/sequence/collate.ts';
import {
  batchMasks,
  crop,
  croppedPositions,
  selectQueries,
  type Crop,
  type MaskLayout,
  type PictureSize,
  type RegionMask,
} from '../../../models/sequence/masks.ts';
import { asSquareMap, regionsOf, type RegionMasks } from '../../../models/sequence/regions.ts';
import { spatialVisionAggregator, type SvaResult } from '../../../models/parts/sva/aggregator.ts';
import { OutputRecorder, type GoldenFile } from '../golden-file.ts';
import type { Kind } from '../kind.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';

export interface Setting {
  readonly file: GoldenFile;
  readonly pictures: readonly PictureSize[];
  /** Side of the final grid, and of each group's and each encoder's. */
  readonly side: number;
  readonly groups: readonly number[];
  readonly masks: MaskLayout;
  readonly heads: number;
  readonly batch: SequenceBatch;
  /** In the training layout: the ids as the collator gives them. */
  readonly collated: Int32Array | undefined;
  /** The part of the final grid that each picture shows. */
  readonly areas: readonly Crop[];
}

export const pipeline: Kind = (file) => {
  const setting = readSetting(file);
  const recorder = new OutputRecorder(file, 'model.');
  const inputs = new Map<string, Numbers>();
  const graph = trace(
    file.checkpoint,
    (t) => {
      build(t, setting, recorder, inputs);
      return recorder.tensors;
    },
    { unread: ['input.', 'output.'] },
  );
  return { graph, inputs, host: hostOutputs(setting) };
};

export function readSetting(file: GoldenFile): Setting {
  const { config } = file;
  const training = config.text('layout') === 'train';
  const side = squareSide(config.number('image_token_len'));
  const sizes = file.numbers('input.image_sizes_wh');
  const pictures = Array.from({ length: sizes.length / 2 }, (_, i): PictureSize => ({
    width: sizes[2 * i] ?? 0,
    height: sizes[2 * i + 1] ?? 0,
  }));
  const full: Crop = { top: 0, left: 0, height: side, width: side };
  const trained = training ? trainingBatch(file, pictures, side) : undefined;
  return {
    file,
    pictures,
    side,
    groups: config.numbers('query_num_list').map(squareSide),
    // The training files were made by the reference's own code, so they have its masks.
    masks: {
      sides: config.numbers('aux_token_len_list').map(squareSide),
      finalSide: side,
      trainingQuirk: training && config.text('group_masks', 'reference') !== 'spatial',
    },
    heads: config.number('num_heads', 16),
    batch: trained ?? inferenceBatch(file, pictures, side),
    collated: trained?.idsWithPlaceholder,
    areas: pictures.map((picture) => (training ? full : crop(picture, side))),
  };
}

function squareSide(tokens: number): number {
  const side = Math.round(Math.sqrt(tokens));
  if (side * side !== tokens) throw new OpabiniaError(`${tokens} tokens are not a square grid`, { op: 'verify' });
  return side;
}

function trainingBatch(file: GoldenFile, pictures: readonly PictureSize[], side: number): TrainingBatch {
  const samples = pictures.map((_, i) => ({
    ids: file.numbers(`input.raw_ids_${i}`),
    labels: file.numbers(`input.raw_labels_${i}`),
  }));
  const { config } = file;
  return collateForTraining(samples, pictures, {
    side,
    imagePosition: config.number('image_position'),
    maxLength: config.number('max_length'),
    padId: config.number('pad_id', 0),
    paddingSide: paddingSide(file),
  });
}

function paddingSide(file: GoldenFile): PaddingSide {
  return file.config.text('padding_side', 'right') === 'left' ? 'left' : 'right';
}

function inferenceBatch(file: GoldenFile, pictures: readonly PictureSize[], side: number): SequenceBatch {
  const [count = 0, length = 0] = file.shape('input.input_ids');
  const [ids, labels, attend] = ['input_ids', 'labels', 'attention_mask'].map((name) => file.numbers(`input.${name}`));
  const row = (values: readonly number[] | undefined, i: number) => values?.slice(i * length, (i + 1) * length) ?? [];
  const placeholders = (i: number) => row(ids, i).filter((id) => id === imagePlaceholder).length;
  // A picture stands for each placeholder; a sample without one still takes a picture from the list, as in the reference.
  let next = 0;
  const samples = Array.from({ length: count }, (_, i): InferenceSample => {
    const images = Array.from({ length: placeholders(i) }, (_unused, j) => next + j);
    next += Math.max(1, images.length);
    return { ids: row(ids, i), labels: row(labels, i), attend: row(attend, i), images };
  });
  return layOutForInference(samples, pictures, {
    side,
    maxLength: file.config.number('max_length', Infinity),
    paddingSide: paddingSide(file),
  });
}

function build(t: Trace, setting: Setting, recorder: OutputRecorder, inputs: Map<string, Numbers>): void {
  const { file } = setting;
  const { root, embeds, vision } = connected(t, setting, recorder, inputs);
  const hidden = Array.from(
    { length: file.config.number('llm_layers', 0) + 1 },
    (_, i) => `hidden_${String(i).padStart(2, '0')}`,
  );
  const alone = file.config.flag('connector_only', false);
  if (alone && ![...hidden, 'last_hidden_state'].some((name) => recorder.wants(name))) return;
  const last = decodeWithVision(
    root,
    embeds,
    toyDecoder(root, file.config.number('llm_layers')),
    alone ? undefined : vision(),
    (path, value) => {
      if (hidden.includes(path)) recorder.take(path, value);
      else recorder.inspect(path, value);
    },
  );
  recorder.take('last_hidden_state', last);
}

/** The connector over the file's features, and the sequence with its tokens in place. */
export interface Connected {
  /** Where the model's parameters stand. */
  readonly root: Params;
  readonly embeds: Hidden;
  readonly features: ReadonlyMap<string, Tensor>;
  /** What SVA layers in the LLM read. */
  readonly vision: () => LlmVision;
}

export function connected(
  t: Trace,
  setting: Setting,
  recorder: OutputRecorder,
  inputs: Map<string, Numbers>,
): Connected {
  const { file, side, groups, masks: layout, batch, heads } = setting;
  const root = t.params.at('model');
  const features = new Map<string, Tensor>();
  const maps = layout.sides.map((_, k) => {
    const name = `tower_features_${k}`;
    const [b = 1, n = 1, c = 1] = file.shape(`input.${name}`);
    inputs.set(name, file.numbers(`input.${name}`));
    const given = t.input(name, 'b n c', { b, n, c }, file.dtype);
    features.set(name, given);
    return asSquareMap(given);
  });
  const known = new Map<number, readonly RegionMasks[]>();
  const masks = (queries: number): readonly RegionMasks[] => {
    const made = known.get(queries) ?? maskInputs(t, queries, setting, inputs);
    known.set(queries, made);
    return made;
  };
  const result = spatialVisionAggregator(root, maps, {
    groups,
    side,
    depth: file.config.number('connector_depth'),
    heads,
    masks,
    inspect: recorder.inspect,
  });

  const integers = (name: string, values: Int32Array) => {
    inputs.set(name, values);
    return t.input(name, 'b s', { b: batch.samples, s: batch.length }, 'i32');
  };
  const sequence: SequenceTensors = { ids: integers('ids', batch.ids), slots: integers('slots', batch.slots) };
  const embeds = embedSequence(root, result.tokens, sequence);
  recorder.take('inputs_embeds', embeds);
  finalOutputs(t, setting, result, recorder);
  return { root, embeds, features, vision: () => llmVision(t, setting, result, masks(side), integers, inputs) };
}

/** The files' stand-in for a decoder layer: h·scale + bias. */
function toyDecoder(p: Params, layers: number): Decoder {
  return {
    layers,
    layer: (hidden, i) =>
      hidden.mul(p.at('layers', i).get('scale', 'one').at('one', 0)).add(p.at('layers', i).get('bias', 'e')),
  };
}

function maskInputs(t: Trace, queries: number, setting: Setting, inputs: Map<string, Numbers>): readonly RegionMasks[] {
  return batchMasks(setting.pictures, queries, setting.masks).map((mask, k) => {
    const name = `mask_${queries}_${k}`;
    inputs.set(name, mask.attend);
    return t.input(name, 'b q t', { b: setting.pictures.length, q: queries * queries, t: mask.tokens }, 'bool');
  });
}

function llmVision(
  t: Trace,
  setting: Setting,
  result: SvaResult,
  masks: readonly RegionMasks[],
  integers: (name: string, values: Int32Array) => SequenceTensors['ids'],
  inputs: Map<string, Numbers>,
): LlmVision {
  const { batch, pictures, side, file, heads } = setting;
  const { config } = file;
  const places = queryPlaces(batch, pictures.length, side, config.number('image_position'));
  inputs.set('query_place', places.place);
  return {
    schedule: {
      start: config.number('start_of_vision_sampler_layers'),
      stride: config.number('stride_of_vision_sampler_layers'),
      count: config.number('num_of_vision_sampler_layers'),
    },
    sight: { context: result.context, regions: result.features.map((map) => regionsOf(map, side)), masks },
    heads,
    place: t.input('query_place', 'b q', { b: pictures.length, q: side * side }, 'i32'),
    slot: integers('query_slot', places.slot),
  };
}

/** Queries of the final grid that are shown, numbered over the batch. */
function shownQueries({ areas, side }: Setting): readonly number[] {
  return areas.flatMap((area, image) => croppedPositions(area, side).map((position) => image * side * side + position));
}

/** What the reference keeps for the SVA layers in the LLM, one row a query. */
function finalOutputs(t: Trace, setting: Setting, result: SvaResult, recorder: OutputRecorder): void {
  const rows = shownQueries(setting);
  if (rows.length === 0) return;
  const index = t.constant(rows, 'r', { r: rows.length }, 'i32');
  result.features.forEach((map, k) => {
    recorder.take(
      `final_kv_${k}`,
      gather(rearrange(regionsOf(map, setting.side), 'b q t c -> m=(b q) t c'), index, 'm'),
    );
  });
  const image = t.constant(
    rows.map((row) => Math.floor(row / setting.side ** 2)),
    'r',
    { r: rows.length },
    'i32',
  );
  recorder.take('final_global_context', gather(rearrange(result.context, 'b c -> m=(b) c'), image, 'm'));
}

export function hostOutputs(setting: Setting): ReadonlyMap<string, Numbers> {
  const { batch, areas, pictures, side, masks } = setting;
  const host = new Map<string, Numbers>([
    ['attention_mask', batch.attend],
    ['labels', batch.labels],
    ['position_ids', batch.positions],
    ['final_size_hw', areas.flatMap((area) => [area.height, area.width])],
  ]);
  const rows = shownQueries(setting);
  batchMasks(pictures, side, masks).forEach((mask: RegionMask, k) => {
    host.set(`final_mask_${k}`, selectQueries(mask, rows).attend);
    host.set(`collate.aux_mask_${k}`, mask.attend);
    if (rows.length === 0) host.set(`final_kv_${k}`, []);
  });
  if (rows.length === 0) host.set('final_global_context', []);
  if (setting.collated !== undefined) {
    host
      .set('collate.attention_mask', batch.attend)
      .set('collate.labels', batch.labels)
      .set('collate.position_ids', batch.positions)
      .set('collate.input_ids', setting.collated);
  }
  return host;
}
