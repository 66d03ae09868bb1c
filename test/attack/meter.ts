// What it costs to take a file: seconds of the processor, and memory at its highest, of this process and of those that it starts.
import { readFileSync } from 'node:fs';

export interface Cost {
  /** Of this process and of those that it started. */
  readonly seconds: number;
  /** MiB that this process held at its highest, above what it held before. */
  readonly grown: number;
  /** MiB of the largest process that it started, at its highest. */
  readonly child: number;
}

const mebibyte = 2 ** 20;

/** Ticks of a second in /proc. */
const ticks = 100;

export class Meter {
  readonly #startsOthers: boolean;
  readonly #seconds: number;
  readonly #held = process.memoryUsage.rss();
  readonly #peak = process.resourceUsage().maxRSS;

  /** Linux alone tells of other processes; elsewhere only this one is measured. */
  constructor(startsOthers: boolean) {
    this.#startsOthers = startsOthers && process.platform === 'linux';
    this.#seconds = this.#secondsNow();
  }

  /** Since it was made. */
  read(): Cost {
    const peak = process.resourceUsage().maxRSS;
    // The highest of all times: where it has not risen, what came before was as high, and was measured then.
    const highest = peak > this.#peak ? peak * 1024 : process.memoryUsage.rss();
    return {
      seconds: this.#secondsNow() - this.#seconds,
      grown: (highest - this.#held) / mebibyte,
      child: this.#startsOthers ? Math.max(0, ...children().map(highestOf)) / mebibyte : 0,
    };
  }

  #secondsNow(): number {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6 + (this.#startsOthers ? secondsOfChildren() : 0);
  }
}

/** The larger of each. */
export function worse(a: Cost | undefined, b: Cost): Cost {
  if (a === undefined) return b;
  return {
    seconds: Math.max(a.seconds, b.seconds),
    grown: Math.max(a.grown, b.grown),
    child: Math.max(a.child, b.child),
  };
}

/** Nothing where a process has just ended. */
function told(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function children(): readonly string[] {
  return told(`/proc/self/task/${process.pid}/children`).split(' ').filter(Boolean);
}

/** Of those that run, and of those that have ended. */
function secondsOfChildren(): number {
  const [own, others] = [timesOf('self'), children().map(timesOf)];
  return (own.ended + others.reduce((sum, { running }) => sum + running, 0)) / ticks;
}

function timesOf(pid: string): { readonly running: number; readonly ended: number } {
  // Behind the name, which may hold anything: utime, stime, cutime, cstime are the 12th to the 15th.
  const fields = told(`/proc/${pid}/stat`)
    .replace(/^[^]*\) /, '')
    .split(' ')
    .map(Number);
  const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = fields.slice(11, 15);
  return { running: user + system, ended: endedUser + endedSystem };
}

function highestOf(pid: string): number {
  const [, kibibytes = '0'] = /^VmHWM:\s+(\d+) kB$/m.exec(told(`/proc/${pid}/status`)) ?? [];
  return Number(kibibytes) * 1024;
}
