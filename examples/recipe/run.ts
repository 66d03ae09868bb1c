// The recipe in one command, judged after each stage on scenes that were held out: `npx node examples/recipe/run.ts [STEPS,STEPS]`. A run that was
// interrupted goes on.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { formatTable } from '../../dsl/text/table.ts';
import { train } from '../../pipelines/train/train.ts';
import { writeTrained } from '../../pipelines/train/write-trained.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import { responseFormats } from '../../pipelines/train/data/response-formats.ts';
import { judgeModel, type ModelScore } from '../shapes/judge-model.ts';
import { recipe } from './recipe.ts';

const root = 'runs';
const questions = 120;

const given = process.argv[2]?.split(',').map(Number);
if (given !== undefined && (given.length !== recipe.stages.length || !given.every((steps) => steps > 0)))
  throw new OpabiniaError(`steps are ${process.argv[2] ?? ''}`, {
    op: 'recipe',
    advice: 'give those of both stages: 40,80',
  });
const stages = recipe.stages.map((stage, i) => (given === undefined ? stage : { ...stage, steps: given[i] }));

const device = await openDevice({ compileAhead: true });
const rows: (readonly [stage: string, score: ModelScore])[] = [];
try {
  await train({ ...recipe, stages }, device, {
    root,
    resume: existsSync(join(root, recipe.name)),
    print: (line) => console.log(line),
    ended: async (stage, folder) => {
      const out = join('out', `recipe-${stage.name}`);
      rmSync(out, { recursive: true, force: true });
      await writeTrained(folder, { out });
      // Asked as it was taught: what is to be answered in a word says so.
      rows.push([stage.name, await judgeModel(out, device, questions, { format: responseFormats.phrase })]);
      console.log(`${out}: the model after the stage '${stage.name}'\n${table()}`);
    },
  });
} finally {
  device.close();
}

/** A row for each stage that has ended, and the share of right answers by kind of question. */
function table(): string {
  const [first] = rows;
  const slices = [...(first?.[1].slices.keys() ?? [])];
  const share = ({ right, asked }: { readonly right: number; readonly asked: number }): string =>
    asked === 0 ? '–' : (right / asked).toFixed(3);
  return formatTable(
    [
      { title: 'after' },
      { title: 'all', align: 'right' },
      ...slices.map((title) => ({ title, align: 'right' as const })),
    ],
    rows.map(([name, { all, slices: own }]) => [
      name,
      share(all),
      ...slices.map((slice) => share(own.get(slice) ?? { right: 0, asked: 0 })),
    ]),
  );
}
