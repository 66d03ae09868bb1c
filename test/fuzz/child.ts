// The parent's side of the child process with the GPU: one order at a time under a deadline, and a new process after a crash or a hang.
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { toWire, type FuzzCase } from './case.ts';
import type { Outcome } from './judge.ts';
import type { Answer, Order } from './worker.ts';

/** A driver compiles a kernel for up to seconds, on a busy machine for more. */
const deadline = 900_000;
/** Orders after which the process is replaced: drivers keep what they have compiled. */
const orders = 1500;

export interface RunOptions {
  readonly mutant?: string;
  /** Only whether the mutant changes the plan. */
  readonly dry?: boolean;
}

export class GpuChild {
  #child: ChildProcess | undefined;
  #orders = 0;
  #given: FuzzCase | undefined;
  /** Processes that ended by themselves or were killed. */
  lost = 0;

  #last: Promise<unknown> = Promise.resolve();

  /** Compiles and runs, one case after the other; `crash` and `hang` are outcomes, never exceptions. */
  run(given: FuzzCase, options: RunOptions = {}): Promise<Outcome> {
    // A shrinking that was cut off has left a run under way.
    const next = this.#last.then(() => this.#run(given, options));
    this.#last = next;
    return next;
  }

  async #run(given: FuzzCase, options: RunOptions): Promise<Outcome> {
    if (this.#orders >= orders) this.close();
    if (this.#given !== given || this.#child === undefined) {
      const opened = await this.#ask({ kind: 'case', wire: toWire(given) });
      if (opened.kind !== 'same') return opened;
      this.#given = given;
    }
    return this.#ask({ kind: 'run', ...options });
  }

  #ask(order: Order): Promise<Outcome> {
    this.#child ??= fork(join(import.meta.dirname, 'worker.ts'), {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    const child = this.#child;
    this.#orders++;
    let said = '';
    const hear = (text: Buffer): void => {
      said = (said + text.toString()).slice(-1500);
    };
    child.stderr?.on('data', hear);
    return new Promise((resolve) => {
      const end = (outcome: Outcome, lost: boolean): void => {
        clearTimeout(timer);
        child.off('message', onMessage).off('exit', onExit);
        child.stderr?.off('data', hear);
        if (lost) {
          this.lost++;
          this.close();
        }
        resolve(outcome);
      };
      const onMessage = ({ outcome }: Answer): void =>
        end(
          outcome,
          outcome.kind === 'crash' ||
            (outcome.kind === 'wrong' && /did not answer within|the device .*lost/.test(outcome.what)),
        );
      const onExit = (code: number | null, signal: string | null): void =>
        end({ kind: 'crash', what: `the process ended (${signal ?? code ?? 'unknown'})\n${said}` }, true);
      const timer = setTimeout(
        () => end({ kind: 'hang', what: `no answer within ${deadline / 1000} s` }, true),
        deadline,
      );
      child.on('message', onMessage).on('exit', onExit);
      child.send(order);
    });
  }

  close(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
    this.#given = undefined;
    this.#orders = 0;
  }
}
