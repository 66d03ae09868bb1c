// A limit on time that does not run while the machine sleeps or this process is stopped.

/** Parts of a limit; each counts at most twice. */
const parts = 20;
/** Milliseconds. */
const shortest = 10;

/** Calls `late` once, after `time` ms in which this process was awake. Returns what calls it off. */
export function awakeTimer(time: number, late: () => void): () => void {
  const step = Math.max(shortest, time / parts);
  let left = time;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    left -= Math.min(now - last, 2 * step);
    last = now;
    if (left > 0) return;
    clearInterval(timer);
    late();
  }, step);
  return () => clearInterval(timer);
}
