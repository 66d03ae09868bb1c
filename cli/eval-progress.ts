// How far an evaluation is, on one line: rate and time left.
import type { AskProgress } from '../pipelines/eval/ask/ask-questions.ts';
import { rewrite, tell } from './output.ts';

/** Over the last line on a terminal; elsewhere a line every ten seconds, and the last. */
export function evalProgress(now: () => number = () => performance.now()): (progress: AskProgress) => void {
  let last = -Infinity;
  return ({ done, total, benchmark, perSecond, secondsLeft }) => {
    const finished = done === total;
    const isTerminal = process.stderr.isTTY;
    if (!finished && now() - last < (isTerminal ? 100 : 10_000)) return;
    last = now();
    const line = `${benchmark}: ${done} of ${total}, ${perSecond.toPrecision(3)} questions/s, ${printSeconds(secondsLeft)} left`;
    if (isTerminal) rewrite(line, finished ? '\n' : '');
    else tell(line);
  };
}

/** `45 s`, `12 min`, `3 h 20 min`. */
export function printSeconds(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
