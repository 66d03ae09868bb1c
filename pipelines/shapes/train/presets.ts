// How large a comparison is: the decoder, the scenes, the steps.
import type { PresetName } from '../scene/scene.ts';
import type { DecoderSize } from './decoder.ts';

export interface TrainPreset {
  readonly decoder: DecoderSize;
  /** Scenes to learn from and to be judged on. */
  readonly train: number;
  readonly held: number;
  /** Pictures of a step; each has eight questions. */
  readonly batch: number;
  readonly steps: number;
  readonly rate: number;
}

/** Questions of one picture. */
export const questionsPerPicture = 8;

export const trainPresets: Readonly<Record<PresetName, TrainPreset>> = {
  S: {
    decoder: { width: 48, layers: 2, heads: 4, hidden: 128, context: 64 },
    train: 4096,
    held: 512,
    batch: 32,
    steps: 500,
    rate: 3e-3,
  },
  M: {
    decoder: { width: 96, layers: 4, heads: 4, hidden: 256, context: 128 },
    train: 16_384,
    held: 1024,
    batch: 64,
    steps: 4000,
    rate: 2e-3,
  },
  L: {
    decoder: { width: 128, layers: 4, heads: 8, hidden: 384, context: 256 },
    train: 16_384,
    held: 1024,
    batch: 64,
    steps: 8000,
    rate: 1e-3,
  },
};
