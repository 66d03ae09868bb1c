// A small model that learns, for tests of the loop: two linear maps and a cross-entropy, on samples that are made up.
import { crossEntropy, fixedParams, linear, silu } from '../../../dsl/index.ts';
import type { LlavaSample } from '../../../pipelines/train/data/llava-file.ts';
import { adamW } from '../../../pipelines/train/optimizers/adamw.ts';
import type { Stage } from '../../../pipelines/train/recipe/recipe.ts';
import type { Trainable } from '../../../pipelines/train/trainable.ts';

const [inputs, hidden, classes] = [5, 7, 3];

/** Numbers that look random and are the same everywhere. */
export function numbers(count: number, seed: number, scale = 1): number[] {
  return Array.from({ length: count }, (_, i) => scale * Math.sin(12.9898 * (i + 1) + 78.233 * (seed + 1)));
}

export function mlp(
  rows: number,
  poison: (sample: number) => boolean = () => false,
  label: (sample: number) => number = (sample) => sample % classes,
): Trainable {
  const source = fixedParams({
    'first.weight': { shape: [hidden, inputs], values: numbers(hidden * inputs, 1, 0.5) },
    'first.bias': { shape: [hidden], values: numbers(hidden, 2, 0.1) },
    'last.weight': { shape: [classes, hidden], values: numbers(classes * hidden, 3, 0.5) },
  });
  return {
    source,
    paths: ['first.weight', 'first.bias', 'last.weight'],
    loss: (t, p) => {
      const x = t.input('x', 'n i', { n: rows, i: inputs });
      const labels = t.input('labels', 'n', { n: rows }, 'i32');
      const h = silu(linear(p.at('first'), x, 'h', { size: hidden }));
      return crossEntropy(linear(p.at('last'), h, 'c', { size: classes, bias: false }), labels, {
        axis: 'c',
        reduction: 'sum',
      });
    },
    batch: async (samples) => ({
      inputs: new Map<string, Float32Array | Int32Array>([
        // A huge number is not NaN, and makes the loss ∞.
        [
          'x',
          Float32Array.from(
            samples.flatMap((s) => numbers(inputs, s.length).map((v) => (poison(s.length) ? 3e38 : v))),
          ),
        ],
        ['labels', Int32Array.from(samples, (s) => label(s.length))],
      ]),
      targets: samples.length,
      tokens: samples.length,
      visual: [],
      replaced: [],
    }),
    about: {},
    close: () => undefined,
  };
}

/** Sample after sample, numbered by their `length`. */
export async function* numbered(skip: number): AsyncGenerator<LlavaSample> {
  for (let i = skip; ; i++) yield { image: undefined, turns: [], length: i + 1 };
}

export function mlpStage(changes: Partial<Stage> = {}): Stage {
  return {
    name: 'mlp',
    data: { samples: () => numbered(0), count: 12, images: '.' },
    groups: [
      { paths: ['*weight'], lr: 0.05, weightDecay: 0.1 },
      { paths: ['*bias'], lr: 0.02 },
    ],
    optimizer: adamW(),
    schedule: { shape: 'cosine', warmup: { steps: 1 } },
    batch: 4,
    length: 8,
    saveEvery: 3,
    logEvery: 1,
    ...changes,
  };
}
