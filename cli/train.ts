// `opabinia train RECIPE.ts`: trains what a recipe says, in a folder of its own, and goes on where it stopped.
import { Option, type Command } from 'commander';
import { openDevice } from '../runtime/device/dawn.ts';
import { needBegun } from '../pipelines/train/record/open-run.ts';
import { printEnd } from '../pipelines/train/record/print-end.ts';
import { checkRecipe, openRecipe } from '../pipelines/train/recipe/open-recipe.ts';
import { withSettings } from '../pipelines/train/recipe/settings.ts';
import { train } from '../pipelines/train/train.ts';
import { say, tell } from './output.ts';
import { checkFolder } from '../runtime/files/make-folder.ts';

interface TrainFlags {
  readonly set: readonly string[];
  readonly resume?: boolean;
  readonly sanity?: boolean;
  readonly runs: string;
}

/** Adds the command to the program. Ctrl-C finishes the step and saves; a second one ends at once. */
export function addTrain(program: Command): void {
  program
    .command('train')
    .description('train what a recipe says')
    .argument('<recipe>', 'a TypeScript file that exports a recipe')
    .option(
      '--set <path=value>',
      'change the recipe: lr=1e-4 in every group, stages.0.steps=100 in one place; may be given several times',
      (value: string, all: readonly string[]) => [...all, value],
      [],
    )
    .option('--resume', 'go on from the last checkpoint, by the same recipe')
    .addOption(
      new Option('--sanity', 'overfit one batch to a loss under 0.05, and keep nothing but what towers saw').conflicts(
        'resume',
      ),
    )
    .option('--runs <folder>', 'where folders of runs and cached features are', 'runs')
    .action(async (file: string, flags: TrainFlags) => {
      const recipe = withSettings(await openRecipe(file), flags.set);
      checkRecipe(recipe, file);
      if (flags.resume === true) needBegun(flags.runs, recipe.name);
      checkFolder(flags.runs, 'train');
      let stops = false;
      process.on('SIGINT', () => {
        if (stops) process.exit(130);
        stops = true;
        tell('finishing the step and saving; once more to end at once');
      });
      const device = await openDevice({ compileAhead: true });
      try {
        const report = await train(recipe, device, {
          root: flags.runs,
          resume: flags.resume,
          sanity: flags.sanity,
          stopped: () => stops,
          print: (line) => say(line),
        });
        const end = printEnd(report, recipe.stages.length);
        if (end !== undefined) say(end);
        if (report.stages.at(-1)?.ended === 'stopped') process.exitCode = 130;
      } finally {
        device.close();
      }
    });
}
