// The command line: `npm run -s opabinia -- COMMAND`. Each command is a file beside this one that registers itself.
// Exit codes: 0 done, 1 the user can mend it, 2 our fault, 3 the device.
import { Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import { DeviceError } from '../runtime/device/failure.ts';
import { packageVersion } from '../runtime/files/package-files.ts';
import { systemError } from '../runtime/files/system-error.ts';
import { addAssemble } from './assemble.ts';
import { addCheck } from './check.ts';
import { addCompare } from './compare.ts';
import { addData } from './data.ts';
import { addDoctor } from './doctor.ts';
import { addDraw } from './draw.ts';
import { addEval } from './eval.ts';
import { addExport } from './export.ts';
import { addFetch } from './fetch.ts';
import { addNew } from './new.ts';
import { guardOutput, tellError } from './output.ts';
import { addPlan } from './plan.ts';
import { addProbe } from './probe.ts';
import { addQuantize } from './quantize.ts';
import { addRun } from './run.ts';
import { addRuns } from './runs.ts';
import { addServe } from './serve.ts';
import { addShapes } from './shapes.ts';
import { addTrain } from './train.ts';
import { addTune } from './tune.ts';
import { addVerify } from './verify.ts';

const program = new Command('opabinia')
  .description('typed connectors between vision encoders and a language model, compiled to fused WGSL')
  .version(packageVersion());
const commands = [
  addAssemble,
  addCheck,
  addCompare,
  addData,
  addDoctor,
  addDraw,
  addEval,
  addExport,
  addFetch,
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
  addVerify,
];
for (const add of commands) add(program);
pointToHelp(program, 'opabinia');

guardOutput();
try {
  await program.parseAsync();
} catch (error) {
  const typed = systemError(error) ?? error;
  tellError(typed);
  // A hung device keeps the process alive: leave at once.
  process.exit(typed instanceof DeviceError ? 3 : typed instanceof OpabiniaError ? 1 : 2);
}

/** Below the error of a wrong option one line, not the help of a page, from which the error would scroll away. */
function pointToHelp(command: Command, path: string): void {
  command.showHelpAfterError(`see ${path} --help`);
  for (const sub of command.commands) pointToHelp(sub, `${path} ${sub.name()}`);
}
