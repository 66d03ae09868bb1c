// Where an answer comes from: what of the encoders' maps moves its probability, cell by cell, whichever way it went (through the connector,
// through SVA layers inside the language model).
import { gradientGraph } from '../../dsl/gradient/gradient-graph.ts';
import { trace } from '../../dsl/index.ts';
import type { Turn } from '../../models/sequence/conversation.ts';
import { compile } from '../../compiler/compile.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { load } from '../../runtime/program/program.ts';
import type { CambrianFamily } from '../../pipelines/answer/families/cambrian.ts';
import type { OpenedModel } from '../../pipelines/answer/open-model.ts';
import { cambrianTrainable } from '../../pipelines/train/cambrian-trainable.ts';
import { towerMaps } from '../../pipelines/train/frozen-towers.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import type { Look } from './look.ts';

export interface Answered {
  readonly question: string;
  readonly answer: string;
}

/** Tokens of a picture, a question and its answer. */
const length = 64;

/**
 * Of each question, for every encoder and cell: Σ over channels of |∂ log p(answer) / ∂ feature · feature|. `folder`/`image`: the picture,
 * as a file. All questions run at once. Throws `OpabiniaError`, `DeviceError`.
 */
export async function answerLooks(
  opened: OpenedModel,
  family: CambrianFamily,
  device: Device,
  { folder, image }: { readonly folder: string; readonly image: string },
  answered: readonly Answered[],
): Promise<readonly (readonly Look[])[]> {
  const samples = answered.map(({ question, answer }) => {
    const turns: readonly Turn[] = [
      { role: 'user', text: question, images: 1 },
      { role: 'assistant', text: answer },
    ];
    return { image, turns, length };
  });
  const [first] = samples;
  if (first === undefined) return [];
  const b = samples.length;
  const trainable = cambrianTrainable(opened, family, {
    device,
    seed: 0,
    cache: folder,
    first: () => Promise.resolve(first),
    stage: {
      name: 'looks',
      data: { samples: async function* () {}, count: b, images: folder },
      groups: [],
      optimizer: adamW(),
      schedule: { shape: 'constant' },
      batch: b,
      length,
    },
  });
  const { model } = family;
  const maps = towerMaps(model);
  try {
    const { inputs } = await trainable.batch(samples);
    const loss = trace(opened.source, (t) => ({ loss: trainable.loss(t, t.params) }), { unread: 'ignore' });
    const slopes = gradientGraph(
      loss,
      'loss',
      maps.map((_, k) => `features_${k}`),
    );
    const program = await load(compile(slopes, deviceProfile(device)), device, opened.source);
    try {
      const found = await program.run(Object.fromEntries(inputs));
      return samples.map((_, i) =>
        maps.map(({ side, channels }, k) => {
          const [slope, feature] = [found[`d features_${k}`]?.data ?? [], inputs.get(`features_${k}`) ?? []];
          const moved = (cell: number): number => {
            let sum = 0;
            for (let c = cell * channels; c < (cell + 1) * channels; c++)
              sum += Math.abs(Number(slope[c]) * Number(feature[c]));
            return sum;
          };
          return {
            encoder: model.config.towers[k]?.name ?? `encoder ${k}`,
            side,
            weights: Array.from({ length: side ** 2 }, (_, cell) => moved(i * side ** 2 + cell)),
          };
        }),
      );
    } finally {
      program.dispose();
    }
  } finally {
    trainable.close();
  }
}
