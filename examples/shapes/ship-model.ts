// What the recipe has learned, as a directory that is shipped: f16, with its curve and the figures of its judging in the model card.
// `npx node examples/shapes/ship-model.ts [WEIGHTS.safetensors] [DIR]`; by default what runs/shapes-cambrian ended with.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { shippedEncoders } from '../../pipelines/shapes/encoders/open-encoders.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import { formatTable } from '../../dsl/text/table.ts';
import { dataHash } from '../../pipelines/shapes/scene/card.ts';
import { preset } from './model-config.ts';
import { writeModel } from './make-model.ts';
import { judgeModel, type ModelScore } from './judge-model.ts';

const run = 'runs/shapes-cambrian';
const [weights = join(run, 'stage-2.safetensors'), directory = join(import.meta.dirname, 'model')] =
  process.argv.slice(2);

mkdirSync(directory, { recursive: true });
const learned = openCheckpoint(weights, { dtype: 'f32' });
const parameters = writeModel(directory, {
  encoders: shippedEncoders(),
  dtype: 'F16',
  read: (path, shape) => learned.read(path, shape),
  seed: 1,
});
learned.close();
const device = await openDevice();
const [sighted, blind] = [
  await judgeModel(directory, device, 200),
  await judgeModel(directory, device, 200, { blind: true }),
];
const { driver } = device.facts;
device.close();
writeFileSync(join(directory, 'README.md'), card(sighted, blind));
console.log(readFileSync(join(directory, 'README.md'), 'utf8'));

function card(sighted: ModelScore, blind: ModelScore): string {
  const share = ({ right, asked }: { readonly right: number; readonly asked: number }) =>
    asked === 0 ? '–' : (right / asked).toFixed(3);
  const table = formatTable(
    [
      { title: 'questions' },
      { title: 'asked', align: 'right' },
      { title: 'right', align: 'right' },
      { title: 'without the picture', align: 'right' },
    ],
    [...sighted.slices, ['all', sighted.all] as const].map(([slice, score]) => [
      slice,
      String(score.asked),
      share(score),
      share(slice === 'all' ? blind.all : (blind.slices.get(slice as never) ?? { right: 0, asked: 0 })),
    ]),
  );
  return [
    '---',
    'license: apache-2.0',
    'pipeline_tag: image-text-to-text',
    '---',
    '# A small Cambrian that answers about drawn scenes',
    '',
    `${parameters.toLocaleString('en')} parameters without its two towers: SVA with D = 2 and G = 1 over 8 × 8 and 16 × 16 tokens, SVA layers after the first two of four decoder layers, a tokenizer of its own. It knows scenes of preset ${preset} and nothing else; signs it was never asked about.`,
    '',
    `Made by \`npx opabinia train examples/shapes/recipe.ts\` (seed 1) and \`npx node examples/shapes/ship-model.ts\`. Data: scenes from 1,000,000 on; hash of the data ${dataHash(preset)}.`,
    '',
    `Held-out questions, greedy, each in a conversation of its own, on ${driver}:`,
    '',
    table,
    '',
    ...curve(),
  ].join('\n');
}

/** The loss of each stage, ten points. */
function curve(): readonly string[] {
  const path = join(run, 'metrics.jsonl');
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { readonly stage: number; readonly step: number; readonly loss: number | null });
  return [0, 1].flatMap((stage) => {
    const own = lines.filter((line) => line.stage === stage);
    const every = Math.max(1, Math.floor(own.length / 10));
    const points = own
      .filter((_, i) => i % every === every - 1)
      .map(({ step, loss }) => `${step}: ${(loss ?? NaN).toFixed(3)}`);
    return own.length === 0 ? [] : [`Loss of stage ${stage + 1} by step: ${points.join(', ')}.`, ''];
  });
}
