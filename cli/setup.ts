// Run before tests and demo: see set-up.ts. OPABINIA_NO_GPU=1 leaves it out.
import { setUp } from '../pipelines/setup/set-up.ts';

if (process.env['OPABINIA_NO_GPU'] !== '1') setUp((line) => console.error(`opabinia: ${line}`));
