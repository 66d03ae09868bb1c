// The command line: `npm run -s opabinia -- COMMAND`. Each command is a file beside this one that registers itself.
// Exit codes: 0 done, 1 the user can mend it, 2 our fault, 3 the device.
import { Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import { DeviceError } from '../runtime/device/failure.ts';
import { addDoctor } from './doctor.ts';
import { addExport } from './export.ts';
import { addFetch } from './fetch.ts';
import { addNew } from './new.ts';
import { addPlan } from './plan.ts';
import { addRun } from './run.ts';
import { addRuns } from './runs.ts';
import { addTrain } from './train.ts';
import { addVerify } from './verify.ts';

const program = new Command('opabinia')
  .description('typed connectors between vision encoders and a language model, compiled to fused WGSL')
  .showHelpAfterError();
for (const add of [addDoctor, addExport, addFetch, addNew, addPlan, addRun, addRuns, addTrain, addVerify]) add(program);

try {
  await program.parseAsync();
} catch (error) {
  console.error(error instanceof OpabiniaError ? `opabinia: ${error.message}` : error);
  // A hung device keeps the process alive: leave at once.
  process.exit(error instanceof DeviceError ? 3 : error instanceof OpabiniaError ? 1 : 2);
}
