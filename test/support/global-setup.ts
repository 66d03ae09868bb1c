// Before any test: an adapter, or the advice that set-up would give. OPABINIA_NO_GPU=1 leaves the tests that need one out.
import { probe } from '../../pipelines/setup/adapter.ts';
import { whatToDo } from '../../pipelines/setup/set-up.ts';
import { everything } from './share.ts';

export function setup(): void {
  // Mesa's software driver spends most of a test run optimizing kernels that run once. What a kernel computes is the same without.
  if (!everything) process.env['GALLIVM_PERF'] ??= 'nopt';
  // What whoever owns this machine has tuned is not part of the tests.
  process.env['OPABINIA_TUNING'] ??= 'off';
  if (process.env['OPABINIA_NO_GPU'] === '1') return;
  const found = probe();
  if (found.found === 'adapter') return;
  const refusal = new Error(
    `the tests need an adapter, and Dawn finds none: ${whatToDo(found)}\nor set OPABINIA_NO_GPU=1 to leave out the tests that need one`,
  );
  refusal.stack = refusal.message; // the advice, not where in this file it was given
  throw refusal;
}
