// `opabinia draw "red square left of blue disc" --out scene.png`: a scene for the small Cambrian to be asked about.
import { Option, type Command } from 'commander';
import sharp from 'sharp';
import { describedScene } from '../pipelines/shapes/scene/describe.ts';
import { drawScene } from '../pipelines/shapes/scene/draw.ts';
import { questionsOf } from '../pipelines/shapes/scene/questions.ts';
import { makeScene, presetNames, scenePresets, type PresetName } from '../pipelines/shapes/scene/scene.ts';
import { writeFileAtomic } from '../runtime/files/atomic-file.ts';
import { whole } from './options.ts';
import { checkOutput } from './output-file.ts';
import { say } from './output.ts';

interface Flags {
  readonly out: string;
  readonly preset: PresetName;
  readonly seed: string;
}

export function addDraw(program: Command): void {
  program
    .command('draw')
    .description('draw a scene of shapes from a description; without one, any scene')
    .argument('[description...]', '"large red square left of blue disc, green triangle in a1"')
    .option('--out <file>', 'a .png file', 'scene.png')
    .addOption(new Option('--preset <name>', 'S: 64 pixels, M: 128, L: 256').choices([...presetNames]).default('S'))
    .option('--seed <number>', 'another one for another scene of the same description', '1')
    .action(async (words: readonly string[], { out, preset, seed }: Flags) => {
      checkOutput('--out', out, { op: 'draw', endings: ['.png'] });
      const text = words.join(' ');
      const number = whole('--seed', seed);
      const scene = text === '' ? makeScene(scenePresets[preset], number) : describedScene(text, preset, number);
      const { rgb, width, height } = drawScene(scene);
      const png = await sharp(rgb, { raw: { width, height, channels: 3 } })
        .png()
        .toBuffer();
      writeFileAtomic(out, png, { op: 'draw' });
      say(`${out}: ${scene.objects.map(({ color, kind }) => `${color} ${kind}`).join(', ')}`);
      say('ask, for instance:');
      for (const { text: question, answer } of questionsOf(scene, 4)) say(`  ${question}  (${answer})`);
    });
}
