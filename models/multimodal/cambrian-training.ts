// Cambrian-1 as it learns: from the maps of frozen towers to the loss of the next token, as one function of parameters.
import { linearCrossEntropy, OpabiniaError, slice, type Params, type Tensor, type Trace } from '../../dsl/index.ts';
import type { VisualTokens } from '../connectors/visual-tokens.ts';
import { decoderLayers, finalNorm, openTurn, type LanguageModel } from '../decoders/decoder.ts';
import { turnTables } from '../decoders/turn-graph.ts';
import { spatialVisionAggregator } from '../parts/sva/aggregator.ts';
import { withAddedLosses } from '../sequence/added-losses.ts';
import { placeBranches, type Branched } from '../sequence/branches.ts';
import { emptySlot, ignoredLabel, queryPlaces, type SequenceBatch } from '../sequence/collate.ts';
import { batchMasks, maskGrids, regionSide, type PictureSize } from '../sequence/masks.ts';
import { regionsOf, type RegionMasks } from '../sequence/regions.ts';
import { decodeWithVision, embedSequence, type Hidden, type LlmVision, type VisionSchedule } from './cambrian.ts';

/** What the graph of a batch depends on. */
export interface CambrianTraining {
  readonly connector: {
    readonly groups: readonly number[];
    readonly side: number;
    readonly depth: number;
    readonly width?: number | undefined;
    readonly heads: number;
  };
  /** Maps of the towers: side of the grid, channels. */
  readonly towers: readonly { readonly side: number; readonly channels: number }[];
  readonly language: LanguageModel;
  readonly schedule: VisionSchedule | undefined;
  /** Where the released models take every image block to begin; undefined: where it does. */
  readonly imagePosition?: number | undefined;
  /** Sequences of a batch, tokens of each, and pictures of all. */
  readonly batch: number;
  readonly length: number;
  readonly pictures: number;
  /** Sequences have questions that do not see one another (`placeBranches`): an input `branch`, `b s`. */
  readonly branched?: boolean | undefined;
  /** Of each layer of the language model, and of the SVA layer behind it, what enters it is kept alone; the rest is computed again. */
  readonly recomputes?: boolean | undefined;
  /** Padding masks of query groups as the reference's training code has them; by default spatially correct. */
  readonly maskQuirk?: boolean | undefined;
}

/**
 * Σ of the cross-entropy of the next token over the labels that count. Inputs: `features_{k}`, `b h w c`; `mask_{queries}_{k}`, `b q t`;
 * `ids`, `slots`, `labels`, `attend`, `cos`, `sin`, and with SVA layers in the language model `query_place` and `query_slot`: all of
 * them in `cambrianInputs`.
 */
export function cambrianLoss(t: Trace, root: Params, training: CambrianTraining): Tensor<'', 'f32'> {
  const { connector, language, schedule, towers, batch: b, length: s, pictures } = training;
  const p = root.at('model');
  const dtype = p.get('image_newline', 'e').dtype;
  const maps = towers.map(({ side, channels }, k) =>
    t.input(`features_${k}`, 'b h w c', { b: pictures, h: side, w: side, c: channels }).cast(dtype),
  );
  const masks = new Map(
    maskGrids(training).map((queries) => [
      queries,
      towers.map(({ side }, k): RegionMasks =>
        t.input(
          `mask_${queries}_${k}`,
          'b q t',
          { b: pictures, q: queries * queries, t: regionSide(side, queries) ** 2 },
          'bool',
        ),
      ),
    ]),
  );
  const { tokens, features, context } = spatialVisionAggregator(p, maps, {
    groups: connector.groups,
    side: connector.side,
    depth: connector.depth,
    heads: connector.heads,
    ...(connector.width === undefined ? {} : { width: connector.width }),
    llmWidth: language.config.hidden,
    masks: (queries) => masks.get(queries) ?? [],
  });
  const integers = (name: string): Tensor<'b s', 'i32'> => t.input(name, 'b s', { b, s }, 'i32');
  const start = embedSequence(p, tokens, { ids: integers('ids'), slots: integers('slots') });
  const vision: LlmVision | undefined =
    schedule === undefined
      ? undefined
      : {
          schedule,
          heads: connector.heads,
          sight: {
            context,
            regions: features.map((map) => regionsOf(map, connector.side)),
            masks: masks.get(connector.side) ?? [],
          },
          place: t.input('query_place', 'b q', { b: pictures, q: connector.side ** 2 }, 'i32'),
          slot: integers('query_slot'),
        };
  return sequenceLoss(t, root, language, training, start, vision);
}

export interface SequenceSizes {
  /** Sequences of a batch, and tokens of each. */
  readonly batch: number;
  readonly length: number;
  readonly branched?: boolean | undefined;
  /** Of each layer of the language model what enters it is kept alone; the rest is computed again. */
  readonly recomputes?: boolean | undefined;
}

/**
 * Σ of the cross-entropy of the next token over the labels that count, from embeddings on. Inputs `labels`, `attend`, `cos`, `sin`, and
 * `branch` where sequences are branched (`sequenceInputs`).
 */
export function sequenceLoss(
  t: Trace,
  root: Params,
  language: LanguageModel,
  { batch: b, length: s, branched, recomputes }: SequenceSizes,
  start: Hidden,
  vision?: LlmVision,
  visual?: VisualTokens,
): Tensor<'', 'f32'> {
  const p = root.at('model');
  const turn = openTurn(t, language.config, { batch: b, length: s, padded: true, branched });
  const last = decodeWithVision(p, start, { ...decoderLayers(p, language, turn), recomputes }, vision);
  const normed = finalNorm(root, language.config, last);
  const head = root.at(language.config.tied ? 'model.embed_tokens' : 'lm_head').get('weight', 'v e', {
    v: language.config.vocabulary,
    e: language.config.hidden,
  });
  // The state at a position predicts the token behind it.
  const labels = t.input<'b s', 'i32'>('labels', 'b s', { b, s }, 'i32');
  const targets = slice(labels, 's', { start: 1 });
  const sum = linearCrossEntropy(slice(normed, 's', { size: s - 1 }), head, targets, {
    ignore: ignoredLabel,
    reduction: 'sum',
  });
  return withAddedLosses(sum, targets, visual);
}

export interface CambrianInputs {
  readonly inputs: ReadonlyMap<string, Int32Array | Uint8Array | Float32Array>;
  /** Labels that count. */
  readonly targets: number;
}

/**
 * Values of all inputs but the features; `samples`: what a branched batch was laid out from. Throws `OpabiniaError` for a batch of other sizes than the graph's, or one longer than it.
 */
export function cambrianInputs(
  training: CambrianTraining,
  given: SequenceBatch,
  pictures: readonly PictureSize[],
  samples?: readonly Branched[],
): CambrianInputs {
  const { connector, towers, schedule, language } = training;
  if (given.samples !== training.batch || pictures.length !== training.pictures || given.length > training.length)
    throw new OpabiniaError(
      `a batch of ${given.samples} sequences of ${given.length} tokens and ${pictures.length} pictures, where the step takes ${training.batch} of up to ${training.length} and ${training.pictures}`,
      { op: 'train', advice: 'raise the length, or cut the samples' },
    );
  const { batch, inputs, targets } = sequenceInputs(
    language,
    training.length,
    given,
    training.branched === true ? samples : undefined,
  );
  for (const queries of maskGrids(training))
    batchMasks(pictures, queries, {
      sides: towers.map((tower) => tower.side),
      finalSide: connector.side,
      trainingQuirk: training.maskQuirk ?? false,
    }).forEach((mask, k) => inputs.set(`mask_${queries}_${k}`, mask.attend));
  if (schedule !== undefined) {
    const places = queryPlaces(batch, pictures.length, connector.side, training.imagePosition);
    inputs.set('query_place', places.place).set('query_slot', places.slot);
  }
  return { inputs, targets };
}

/**
 * Values of the inputs that every model has that learns from sequences; `batch` is the given one at the length of the step. `samples`:
 * what it was laid out from, where its questions do not see one another.
 */
export function sequenceInputs(
  language: LanguageModel,
  length: number,
  given: SequenceBatch,
  samples?: readonly Branched[],
): {
  readonly batch: SequenceBatch;
  readonly inputs: Map<string, Int32Array | Uint8Array | Float32Array>;
  readonly targets: number;
} {
  const whole = lengthened(given, length);
  const branched = samples === undefined ? undefined : placeBranches(whole, samples);
  const batch = branched?.batch ?? whole;
  const inputs = new Map<string, Int32Array | Uint8Array | Float32Array>([
    ['ids', batch.ids],
    ['slots', batch.slots],
    ['labels', batch.labels],
    ['attend', batch.attend],
    ...Object.entries(turnTables(language.config, batch.positions)),
  ]);
  if (branched !== undefined) inputs.set('branch', branched.branch);
  let targets = 0;
  batch.labels.forEach((label, i) => {
    if (i % batch.length > 0 && label !== ignoredLabel) targets++;
  });
  return { batch, inputs, targets };
}

/** The same batch, each row filled up on the right with slots where nothing stands. */
function lengthened(batch: SequenceBatch, length: number): SequenceBatch {
  if (batch.length === length) return batch;
  const rows = <A extends Int32Array | Uint8Array>(from: A, into: A): A => {
    for (let row = 0; row < batch.samples; row++)
      into.set(from.subarray(row * batch.length, (row + 1) * batch.length), row * length);
    return into;
  };
  const count = batch.samples * length;
  return {
    ...batch,
    length,
    ids: rows(batch.ids, new Int32Array(count)),
    labels: rows(batch.labels, new Int32Array(count).fill(ignoredLabel)),
    attend: rows(batch.attend, new Uint8Array(count)),
    positions: rows(batch.positions, new Int32Array(count)),
    slots: rows(batch.slots, new Int32Array(count).fill(emptySlot)),
  };
}
