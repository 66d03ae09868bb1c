// Both encoders of a preset learn their attributes in one run of our own trainer: a stage, a folder, checkpoints, and two checkpoints in the layout of Hugging Face at the end.
import { join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { writeSafetensors } from '../../../runtime/checkpoint/safetensors-write.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { towerPixels } from '../../../models/configs/towers.ts';
import { under, type Shapes } from '../../../models/configs/param-shapes.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import { adamW } from '../../train/optimizers/adamw.ts';
import type { Stage } from '../../train/recipe/recipe.ts';
import { newestCheckpoint } from '../../train/run/checkpoints.ts';
import { RunFolder } from '../../train/run/run-folder.ts';
import { trainStage } from '../../train/run/train-stage.ts';
import type { Trainable } from '../../train/trainable.ts';
import { drawScene } from '../scene/draw.ts';
import { makeScene, scenePresets, type PresetName, type Scene } from '../scene/scene.ts';
import { fromScratch } from '../from-scratch.ts';
import { sceneOf, sceneSamples } from '../scene-samples.ts';
import { directoryOf, encoderRoot } from './open-encoders.ts';
import { encode, encoderPair, encoderShapes, normalized, type ShapeEncoder } from './pair.ts';
import { attributes, pretextLabels, pretextLoss } from './pretext.ts';
import { makeFolder } from '../../../runtime/files/make-folder.ts';

export interface TrainEncodersOptions {
  readonly preset: PresetName;
  readonly device: Device;
  /** Of the run, which goes on where it stopped. */
  readonly root: string;
  /** Where the two directories are written. */
  readonly out: string;
  readonly seed: number;
  readonly steps: number;
  readonly batch: number;
  readonly stopped?: (() => boolean) | undefined;
  readonly print: (line: string) => void;
}

/** Scenes of training begin here; those that others hold out stand before. */
const firstSeed = 1_000_000;

export async function trainEncoders(options: TrainEncodersOptions): Promise<void> {
  const { preset, device, root, steps, batch, seed, out, print } = options;
  const pair = encoderPair(preset);
  const stage: Stage = {
    name: `encoders of ${preset}`,
    data: { samples: () => sceneSamples(firstSeed), count: steps * batch, images: '.' },
    groups: [
      { paths: ['*.weight', '!*norm*', '!*embed*'], lr: 2e-3, weightDecay: 0.01 },
      { paths: ['*'], lr: 2e-3 },
    ],
    optimizer: adamW({ betas: [0.9, 0.99] }),
    schedule: { shape: 'cosine', warmup: { steps: Math.min(100, Math.ceil(steps / 10)) } },
    batch,
    steps,
    length: 1,
    saveEvery: 200,
    logEvery: 20,
  };
  makeFolder(root);
  const folder = new RunFolder(root, `encoders-${preset}`, true);
  const checkpoint = newestCheckpoint(folder.path, (text) => print(`  · ${text}`));
  folder.rewind(0, checkpoint?.position.step ?? 0);
  const skip = checkpoint?.position.samples ?? 0;
  const trainable = encodersTrainable(pair, preset, batch, seed);
  try {
    const result = await trainStage({
      stage,
      index: 0,
      trainable,
      device,
      folder,
      total: steps,
      count: steps * batch,
      samples: sceneSamples(firstSeed + skip),
      checkpoint,
      stopped: options.stopped ?? (() => false),
      print,
    });
    if (result.ended !== 'done') return;
  } finally {
    checkpoint?.close();
  }
  const last = newestCheckpoint(folder.path, print);
  if (last === undefined) throw new OpabiniaError('the run has no checkpoint', { op: 'encoders' });
  const weights = openCheckpoint(join(last.path, 'model.safetensors'));
  last.close();
  try {
    pair.forEach((encoder, k) =>
      writeEncoder(join(out, directoryOf(encoder)), encoder, (path, shape) =>
        weights.read(`${encoderRoot(k)}.${path}`, shape),
      ),
    );
  } finally {
    weights.close();
  }
}

function encodersTrainable(pair: readonly ShapeEncoder[], preset: PresetName, batch: number, seed: number): Trainable {
  const { side } = scenePresets[preset];
  const shapes: Shapes = new Map(
    pair.flatMap((encoder, k) => [
      ...under(encoderRoot(k), encoderShapes(encoder)),
      ...under(encoderRoot(k), headShapes(encoder, k, preset)),
    ]),
  );
  return {
    source: fromScratch(shapes, seed),
    paths: [...shapes.keys()],
    loss: (t, p) => {
      const losses = pair.map((encoder, k) => {
        const pixels = t.input(`pixels_${k}`, 'b h w c', { b: batch, h: side, w: side, c: 3 });
        const [h, w] = encoder.map;
        return pretextLoss(
          p.at(encoderRoot(k)),
          encode(p.at(encoderRoot(k)), pixels, encoder),
          (name) => t.input(`labels_${k}_${name}`, 'b h w', { b: batch, h, w }, 'i32'),
          attributes[k] ?? [],
          { preset },
        );
      });
      const [first, ...rest] = losses;
      if (first === undefined) throw new RangeError('there is no encoder');
      return rest.reduce((sum, loss) => sum.add(loss), first);
    },
    batch: async (samples) => {
      const scenes = samples.map((sample) => makeScene(scenePresets[preset], sceneOf(sample)));
      return { ...pretextInputs(pair, scenes), tokens: samples.length, visual: [], replaced: [] };
    },
    about: {},
    close: () => undefined,
  };
}

function headShapes({ map: [grid, , channels] }: ShapeEncoder, k: number, preset: PresetName): Shapes {
  const classes = (attributes[k] ?? []).reduce((sum, attribute) => sum + attribute.classes({ preset }, grid), 0);
  return new Map([
    ['head.weight', [classes, channels]],
    ['head.bias', [classes]],
  ]);
}

function pretextInputs(pair: readonly ShapeEncoder[], scenes: readonly Scene[]) {
  const pictures = scenes.map(drawScene);
  const inputs = new Map<string, Numbers>();
  pair.forEach((encoder, k) => {
    const [grid] = encoder.map;
    const own = attributes[k] ?? [];
    inputs.set(`pixels_${k}`, normalized(pictures, encoder));
    own.forEach(({ name }) => inputs.set(`labels_${k}_${name}`, new Int32Array(scenes.length * grid * grid)));
    scenes.forEach((scene, i) => {
      const picture = pictures[i];
      if (picture === undefined) return;
      pretextLabels(scene, picture, grid, own).forEach((labels, a) => {
        const all = inputs.get(`labels_${k}_${own[a]?.name ?? ''}`);
        if (all instanceof Int32Array) all.set(labels, i * grid * grid);
      });
    });
  });
  return { inputs, targets: scenes.length };
}

/** Its directory in the layout of Hugging Face: configs, and the weights in f16. */
export function writeEncoder(
  directory: string,
  encoder: ShapeEncoder,
  read: (path: string, shape: readonly number[]) => Float32Array,
): void {
  makeFolder(directory);
  const json = (name: string, value: unknown) =>
    writeFileAtomic(join(directory, name), `${JSON.stringify(value, null, 2)}\n`, { op: 'encoders' });
  json('config.json', { ...encoder.config, torch_dtype: 'float16' });
  const { tower } = encoder.tower;
  const { mean, std } = towerPixels[tower];
  const [side] = [Number(encoder.config['image_size'] ?? /res(\d+)/.exec(encoder.name)?.[1] ?? 64)];
  json('preprocessor_config.json', {
    do_resize: true,
    size: { shortest_edge: side },
    do_center_crop: true,
    crop_size: { height: side, width: side },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: mean,
    image_std: std,
    resample: 3,
  });
  const tensors = [...encoderShapes(encoder)].map(([name, shape]) => ({
    name,
    shape,
    dtype: 'F16' as const,
    values: read(name, shape),
  }));
  writeSafetensors(join(directory, 'model.safetensors'), tensors, { format: 'pt' });
}
