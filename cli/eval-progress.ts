// How far an evaluation is, on one line: rate and time left.
import type { AskProgress } from '../pipelines/eval/ask/ask-questions.ts';
import { rewrite, tell } from './output.ts';
import { printDuration } from '../pipelines/train/run/progress.ts';

/** Over the last line on a terminal; elsewhere a line every ten seconds, and the last. */
export function evalProgress(now: () => number = () => performance.now()): (progress: AskProgress) => void {
  let last = -Infinity;
  return ({ done, total, benchmark, perSecond, secondsLeft }) => {
    const finished = done === total;
    const isTerminal = process.stderr.isTTY;
    if (!finished && now() - last < (isTerminal ? 100 : 10_000)) return;
    last = now();
    const line = `${benchmark}: ${done} of ${total}, ${perSecond.toPrecision(3)} questions/s, ${printDuration(secondsLeft)} left`;
    if (isTerminal) rewrite(line, finished ? '\n' : '');
    else tell(line);
  };
}
