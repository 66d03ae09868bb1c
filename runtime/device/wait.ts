// Waiting for the GPU without burning a core: dawn.node polls in a setImmediate loop while any promise is pending, and takes
// the whole JS thread for it. A loop of our own sleeps between its turns.

const bell = new Int32Array(new SharedArrayBuffer(4));

/** Work shorter than this is awaited by spinning: a sleep would cost more than it. */
const spinMilliseconds = 0.2;
const sleepMilliseconds = 0.5;

let waiting = 0;
let spinUntil = 0;
let turning = false;

function turn(): void {
  if (waiting === 0) {
    turning = false;
    return;
  }
  if (performance.now() > spinUntil) Atomics.wait(bell, 0, 0, sleepMilliseconds);
  setImmediate(turn);
}

/** The promise itself, with the thread asleep most of the time until it settles. */
export async function wait<T>(promise: Promise<T>): Promise<T> {
  waiting++;
  spinUntil = performance.now() + spinMilliseconds;
  if (!turning) {
    turning = true;
    setImmediate(turn);
  }
  try {
    return await promise;
  } finally {
    waiting--;
  }
}
