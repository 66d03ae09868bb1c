// What a command line ends in, within this process.
import { Command } from 'commander';
import { addAssemble } from '../../cli/assemble.ts';
import { addCheck } from '../../cli/check.ts';
import { addCompare } from '../../cli/compare.ts';
import { addData } from '../../cli/data.ts';
import { addDraw } from '../../cli/draw.ts';
import { addEval } from '../../cli/eval.ts';
import { addExport } from '../../cli/export.ts';
import { addNew } from '../../cli/new.ts';
import { addPlan } from '../../cli/plan.ts';
import { addProbe } from '../../cli/probe.ts';
import { addQuantize } from '../../cli/quantize.ts';
import { addRun } from '../../cli/run.ts';
import { addRuns } from '../../cli/runs.ts';
import { addServe } from '../../cli/serve.ts';
import { addShapes } from '../../cli/shapes.ts';
import { addTrain } from '../../cli/train.ts';
import { addTune } from '../../cli/tune.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { systemError } from '../../runtime/files/system-error.ts';

const commands = [
  addAssemble,
  addCheck,
  addCompare,
  addData,
  addDraw,
  addEval,
  addExport,
  addNew,
  addPlan,
  addProbe,
  addQuantize,
  addRun,
  addRuns,
  addServe,
  addShapes,
  addTrain,
  addTune,
];

/** The message of the error that the words end in, or `done`. */
export async function failure(words: readonly string[]): Promise<string> {
  const program = new Command();
  for (const add of commands) add(program);
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => undefined });
  try {
    await program.parseAsync(words, { from: 'user' });
  } catch (error) {
    const typed = systemError(error) ?? error;
    if (typed instanceof OpabiniaError) return typed.message;
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('commander.')) return error.message;
    throw error;
  }
  return 'done';
}
