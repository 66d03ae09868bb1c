// The recipe in one command, judged after each stage on scenes that were held out: `npx node examples/recipe/run.ts [STEPS,STEPS]`. A run that was
// interrupted goes on.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { formatTable } from '../../dsl/text/table.ts';
import { train } from '../../pipelines/train/train.ts';
import { writeTrained } from '../../pipelines/train/learned/write-trained.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import { responseFormats } from '../../pipelines/train/data/response-formats.ts';
import { judgeModel, type ModelScore } from '../shapes/judge-model.ts';
import { recipe as whole } from './recipe.ts';
import { shortened } from './shortened.ts';

const questions = 120;

const [, , steps] = process.argv;
const recipe = steps === undefined ? whole : shortened(whole, steps);

const device = await openDevice({ compileAhead: true });
const rows: (readonly [stage: string, score: ModelScore])[] = [];
try {
  await train(recipe, device, {
    root: 'runs',
    resume: true,
    print: (line) => console.log(line),
    ended: async (stage, folder) => {
      const out = join('out', `${recipe.name}-${stage.name}`);
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
