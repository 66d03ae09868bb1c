// What a probe trains on drawn scenes: towers, held or learning, one connector, the small decoder of the comparisons.
import {
  crossEntropy,
  OpabiniaError,
  randomParams,
  rearrange,
  trace,
  type Float,
  type Params,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import type { Connect } from '../../models/connectors/connector.ts';
import type { VisualTokens } from '../../models/connectors/visual-tokens.ts';
import { withAddedLosses } from '../../models/sequence/added-losses.ts';
import type { FeatureMap } from '../../models/sequence/regions.ts';
import type { Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import { fromScratch } from '../shapes/from-scratch.ts';
import { drawScene } from '../shapes/scene/draw.ts';
import { sceneOf } from '../shapes/scene-samples.ts';
import { answerLogits, embedQuestions, type DecoderSize } from '../shapes/train/decoder.ts';
import { questionsPerPicture } from '../shapes/train/presets.ts';
import { questionWidth } from '../shapes/train/question-codes.ts';
import { answersOf, inputsOf, type Split } from '../shapes/train/task.ts';
import { pictureOrder } from '../shapes/train/train-variant.ts';
import { shapesRead } from '../shapes/variants/narrow.ts';
import type { Trainable } from '../train/trainable.ts';
import type { ProbeEntry } from './towers.ts';

export interface ShapesModel {
  readonly entry: ProbeEntry;
  /** Undefined: the decoder is blind. */
  readonly used: Connect | undefined;
  readonly config: unknown;
  readonly tokens: number;
  /** Towers are not run while training: their maps are inputs. */
  readonly frozen: boolean;
  readonly decoder: DecoderSize;
  readonly batch: number;
}

export const towerRoot = (k: number | '*'): string => `tower_${k}`;

/** Inputs `map_{k}`, or `pixels_{k}` where towers learn, and `questions`; to `b q a`, and what the connector made on the way. */
export function probeLogits(
  t: Trace,
  p: Params,
  model: ShapesModel,
): { readonly logits: Tensor<'b q a', Float>; readonly visual: VisualTokens | undefined } {
  const { entry, used, frozen, decoder, batch: b } = model;
  const maps = entry.towers.map(({ part }, k): FeatureMap => {
    if (!frozen) {
      const pixels = t.input<'b h w c', Float>(`pixels_${k}`, 'b h w c', { b, h: part.side, w: part.side, c: 3 });
      return part.tower.map(p.at(towerRoot(k)), pixels);
    }
    const [h, w, c] = part.map;
    return t.input<'b h w c', Float>(`map_${k}`, 'b h w c', { b, h, w, c });
  });
  const rows = t.input<'b q v', Float>('questions', 'b q v', { b, q: questionsPerPicture, v: questionWidth });
  const asked = embedQuestions(p.at('question'), rows, decoder);
  const visual = used?.build(p.at('connector'), maps, {
    width: decoder.width,
    pictures: Array.from({ length: b }, () => ({ width: 64, height: 64 })),
    question: () => rearrange(asked, 'b q e -> b t=(q) e'),
  });
  return { logits: answerLogits(t, p.at('decoder'), visual, asked, decoder, used), visual };
}

/** Inputs of the graph for pictures `indices` of a split. */
export function probeInputs(
  { entry, frozen, used }: ShapesModel,
  split: Split,
  indices: readonly number[],
): Map<string, Numbers> {
  if (frozen || used === undefined) return inputsOf({ reads: used === undefined ? 'nothing' : 'both' }, split, indices);
  const inputs = inputsOf({ reads: 'nothing' }, split, indices);
  const drawn = indices.flatMap((index) => split.scenes[index] ?? []).map((scene) => drawScene(scene));
  entry.towers.forEach(({ make, part }, k) => {
    const each = part.side ** 2 * 3;
    const values = new Float32Array(indices.length * each);
    drawn.forEach((picture, i) => values.set(make(picture), i * each));
    inputs.set(`pixels_${k}`, values);
  });
  return inputs;
}

/** Weights that parameters begin with, the first that has one of the same shape; others come from the seed. */
export type Beginning = Pick<Source, 'shape' | 'read'>;

/** The loss, with what it begins from. Throws what building the connector throws. */
export function probeTrainable(
  model: ShapesModel,
  train: Split,
  {
    seed,
    beginnings,
    towers,
  }: { readonly seed: number; readonly beginnings: readonly Beginning[]; readonly towers: readonly Checkpoint[] },
): Trainable {
  const loss = (t: Trace, p: Params, learns = true) => {
    const labels = t.input('labels', 'b q', { b: model.batch, q: questionsPerPicture }, 'i32');
    const { logits, visual } = probeLogits(t, p, model);
    const sum = crossEntropy(logits, labels, { axis: 'a', reduction: 'sum' });
    return learns ? withAddedLosses(sum, labels, visual) : sum;
  };
  // A tower's parameters have the sizes of its checkpoint.
  const sizes = {
    ...randomParams(0),
    shape: (path: string) => placed(path, towers)?.tower.shape(placed(path, towers)?.own ?? ''),
  };
  const shapes = shapesRead(trace(sizes, (t) => ({ loss: loss(t, t.params) }), { unread: 'ignore' }));
  const scratch = fromScratch(shapes, seed);
  const order = pictureOrder(train.scenes.length, seed);
  return {
    source: {
      ...scratch,
      read: (path, shape) => {
        const own = placed(path, towers);
        const known = beginnings.find((one) => one.shape(path)?.join() === shape.join());
        if (known !== undefined) return known.read(path, shape);
        return own === undefined ? scratch.read(path, shape) : own.tower.read(own.own, shape);
      },
    },
    paths: [...shapes.keys()],
    loss,
    batch: async (samples) => {
      const indices = samples.map((sample) => order(sceneOf(sample)));
      const inputs = probeInputs(model, train, indices);
      const labels = answersOf(train, indices);
      inputs.set('labels', labels);
      const targets = labels.reduce((sum, label) => sum + (label >= 0 ? 1 : 0), 0);
      return { inputs, targets, tokens: targets, visual: [], replaced: [] };
    },
    about: { towers: model.entry.name, config: model.config, frozen: model.frozen },
    close: () => undefined,
  };
}

/** A path below a tower's root, in its checkpoint. */
function placed(
  path: string,
  towers: readonly Checkpoint[],
): { readonly tower: Checkpoint; readonly own: string } | undefined {
  const [, k, own] = /^tower_(\d+)\.(.*)$/.exec(path) ?? [];
  if (k === undefined || own === undefined) return undefined;
  const tower = towers[Number(k)];
  if (tower === undefined) throw new OpabiniaError(`there is no tower ${k}`, { op: 'probe' });
  return { tower, own };
}
