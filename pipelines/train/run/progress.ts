// A line of progress: what a person wants to know of a step.
import { printBytes } from '../../../runtime/device/memory-budget.ts';

export interface ProgressLine {
  readonly stage: string;
  readonly step: number;
  readonly total: number;
  readonly loss: number;
  readonly gradientNorm: number;
  readonly learningRate: number;
  readonly tokensPerSecond: number;
  readonly secondsLeft: number;
  /** Bytes on the device. */
  readonly memory: number;
  readonly evaluation: number | undefined;
}

export function printProgress(line: ProgressLine): string {
  const parts = [
    `${line.stage}  ${line.step}/${line.total}`,
    `loss ${line.loss.toFixed(4)}`,
    ...(line.evaluation === undefined ? [] : [`evaluation ${line.evaluation.toFixed(4)}`]),
    `norm ${line.gradientNorm.toPrecision(3)}`,
    `lr ${line.learningRate.toExponential(2)}`,
    `${line.tokensPerSecond.toFixed(line.tokensPerSecond < 10 ? 1 : 0)} tokens/s`,
    `${printDuration(line.secondsLeft)} left`,
    printBytes(line.memory),
  ];
  return parts.join('  ');
}

/** `2 h 5 min`, `3 min`, `12 s` */
export function printDuration(seconds: number): string {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
