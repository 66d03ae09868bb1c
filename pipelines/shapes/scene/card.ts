// The data card of the scenes: what they are made of, how often each answer is right, and a hash over pictures, questions and labels.
import { createHash } from 'node:crypto';
import { formatTable } from '../../../dsl/text/table.ts';
import { drawScene } from './draw.ts';
import { questionsOf, slices, type Slice } from './questions.ts';
import { makeScene, scenePresets, unit, type PresetName } from './scene.ts';
import { plural } from '../../../dsl/text/plural.ts';

const counted = 200;
const perPicture = 8;

/** SHA-256 over the pixels and the questions with their answers of the first scenes of a preset. */
export function dataHash(name: PresetName, count = 16): string {
  const hash = createHash('sha256');
  for (let seed = 0; seed < count; seed++) {
    const scene = makeScene(scenePresets[name], seed);
    hash.update(drawScene(scene).rgb);
    for (const { text, answer } of questionsOf(scene, perPicture)) hash.update(`${text} ${answer}\n`);
  }
  return hash.digest('hex');
}

/** Of the most frequent answer of each slice, its share: what a blind guess of it reaches. */
export function plainGuess(
  name: PresetName,
  scenes = counted,
): ReadonlyMap<Slice, { readonly answer: string; readonly share: number; readonly asked: number }> {
  const found = new Map<Slice, Map<string, number>>(slices.map((slice) => [slice, new Map()]));
  for (let seed = 0; seed < scenes; seed++)
    for (const { slice, answer } of questionsOf(makeScene(scenePresets[name], seed), perPicture)) {
      const own = found.get(slice);
      own?.set(answer, (own.get(answer) ?? 0) + 1);
    }
  return new Map(
    [...found].map(([slice, counts]) => {
      const asked = [...counts.values()].reduce((sum, count) => sum + count, 0);
      const [answer, most] = [...counts].reduce((best, one) => (one[1] > best[1] ? one : best), ['', 0] as [
        string,
        number,
      ]);
      return [slice, { answer, share: asked === 0 ? 0 : most / asked, asked }] as const;
    }),
  );
}

/** As Markdown. */
export function dataCard(name: PresetName): string {
  const preset = scenePresets[name];
  const [least, most] = preset.radius.map((radius) => (radius / unit).toFixed(1));
  const rows = [...plainGuess(name)].map(([slice, { answer, share, asked }]) => [
    slice,
    String(asked),
    answer,
    share.toFixed(3),
  ]);
  return [
    `# Shapes ${name}`,
    '',
    `Drawn scenes of ${preset.side} × ${preset.side} pixels, ${preset.objects[0]} to ${preset.objects[1]} objects each: ${preset.colors.join(', ')}; ${preset.kinds.join(', ')}; radius ${least} to ${most} pixels, the larger in front of the smaller; on each one of ${preset.signs.join(', ')}. Gray ground with noise. No two objects of a scene share color and kind, or a cell of the 4 × 4 grid; no center is nearer to the border of a cell than ${preset.side / 32} pixels; no sign is covered: every label is exact.`,
    '',
    'Seeded and without end: scene n is the same on every machine, by whole-number arithmetic alone. Training begins at scene 1,000,000, what is held out at scene 0.',
    '',
    `Questions of ${plural(counted, 'scene')}, ${perPicture} each, and the share of the most frequent answer:`,
    '',
    formatTable(
      [
        { title: 'slice' },
        { title: 'questions', align: 'right' },
        { title: 'most frequent' },
        { title: 'share', align: 'right' },
      ],
      rows,
    ),
    '',
    `SHA-256 of the pixels, questions and answers of scenes 0 to 15: ${dataHash(name)}`,
  ].join('\n');
}
