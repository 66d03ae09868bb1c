import { expect, it } from 'vitest';
import { awakeTimer } from '../../runtime/sandbox/awake-timer.ts';

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
/** Neither timers nor anything else of this process runs meanwhile, as where it is stopped. */
const stop = (milliseconds: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

it('is late after its time', async () => {
  let late = 0;
  awakeTimer(100, () => late++);
  await sleep(400);
  expect(late).toBe(1);
});

it('does not count the time in which the process was stopped', async () => {
  let late = 0;
  const callOff = awakeTimer(1000, () => late++);
  await sleep(10);
  stop(1500);
  await sleep(20);
  expect(late).toBe(0);
  callOff();
});

it('can be called off', async () => {
  let late = 0;
  awakeTimer(50, () => late++)();
  await sleep(200);
  expect(late).toBe(0);
});
