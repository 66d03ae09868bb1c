// The parent's side of the sandbox: one warm child process, one request at a time, killed when a request takes too long or too much.
import { fork, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { OpabiniaError } from '../../dsl/error.ts';
import { siblingModule } from '../files/package-files.ts';
import { awakeTimer } from './awake-timer.ts';
import { errorOf, type Reply, type Request, type RequestOf, type ValueOf } from './protocol.ts';

/** MiB of the process's heap, unless it is said otherwise: a tokenizer of 64 MiB of JSON fits. */
const defaultMemory = 1024;
/** MiB of addresses that Node itself reserves; with half of it, V8 ends programs that hold little but make much garbage. */
const reserved = 6144;
/** Milliseconds. The process has to start; on a busy machine this takes a while, and is nobody's fault. */
const startLimit = 60_000;

export interface AskOptions {
  /** Milliseconds of this request, from when it begins; those in which this process does not run are not counted. */
  readonly time: number;
  /** Who is refused when the request takes too much: `the chat template`. */
  readonly who: string;
  readonly op: string;
  readonly advice?: string | undefined;
}

export class Sandbox {
  readonly #memory: number;
  #child: Promise<ChildProcess> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #generation = 0;

  /** `memory`: MiB of the heap of the process. Nothing is started before it is needed. */
  constructor(memory: number = defaultMemory) {
    this.#memory = memory;
  }

  /** Changes whenever the process is another one, which knows nothing of what was opened before. */
  get generation(): number {
    return this.#generation;
  }

  /** Starts the process, if there is none, so that the first request does not wait for it. */
  warm(): void {
    this.#started().catch(() => undefined);
  }

  /**
   * One request; those before it come first. Throws `OpabiniaError` for what the child refuses, and where it takes more than its time or
   * memory: the process is killed then, and the next request gets a new one.
   */
  async ask<K extends Request['kind']>(request: RequestOf<K>, options: AskOptions): Promise<ValueOf<K>> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#last = promise;
    await before;
    try {
      const reply = await this.#ask(request, options);
      if (reply.kind === 'refused') {
        const { refusal } = reply;
        throw errorOf({ ...refusal, advice: refusal.advice ?? options.advice });
      }
      if (reply.kind !== 'value') throw new TypeError(`the sandbox says '${reply.kind}'`);
      return reply.value as ValueOf<K>;
    } finally {
      resolve(undefined);
    }
  }

  /** Ends the process; the next request starts another. */
  async close(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    (await child)?.kill('SIGKILL');
  }

  async #ask(request: Request, { time, who, op, advice }: AskOptions): Promise<Reply> {
    const child = await this.#started();
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const refuse = (what: string): void => reject(new OpabiniaError(`${who} ${what}`, { op, advice }));
    const ended = (code: number | null, signal: NodeJS.Signals | null): void => refuse(this.#endOf(code, signal));
    const callOff = awakeTimer(time, () => {
      child.off('exit', ended);
      // Nobody asks it anything while it is being asked: it is the current one.
      this.#child = undefined;
      child.kill('SIGKILL');
      refuse(`runs for more than ${Math.round(time / 1000)} s`);
    });
    child.once('message', resolve);
    child.once('exit', ended);
    hold(child);
    try {
      child.send(request, (error) => {
        if (error !== null) refuse('could not be run: its process is gone');
      });
      return await promise;
    } finally {
      callOff();
      child.off('message', resolve);
      child.off('exit', ended);
      letGo(child);
    }
  }

  /** V8 aborts when the heap is full; the system refuses, or kills, when memory is. */
  #endOf(code: number | null, signal: NodeJS.Signals | null): string {
    const full =
      code === 133 || code === 134 || ['SIGABRT', 'SIGTRAP', 'SIGILL', 'SIGSEGV', 'SIGBUS'].includes(signal ?? '');
    return full
      ? `takes more than ${this.#memory} MiB of memory`
      : `ended its process${signal === null ? ` with exit code ${code}` : ` (${signal})`}`;
  }

  #started(): Promise<ChildProcess> {
    this.#child ??= this.#start();
    return this.#child;
  }

  #start(): Promise<ChildProcess> {
    this.#generation++;
    const { promise, resolve, reject } = Promise.withResolvers<ChildProcess>();
    const child = forkLimited(this.#memory);
    // One that was killed is gone later than the next one begins.
    const forget = (): void => {
      if (this.#child === promise) this.#child = undefined;
    };
    const failed = (why: string): void => {
      forget();
      child.kill('SIGKILL');
      reject(
        new OpabiniaError(`the process for templates and tokenizers does not start: ${why}`, {
          op: 'sandbox',
          advice: 'check how many processes and how much memory are allowed here',
        }),
      );
    };
    const timer = setTimeout(() => failed(`not within ${startLimit / 1000} s`), startLimit);
    child.once('error', (error) => failed(error.message));
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      failed(`it ended with ${code ?? signal}`);
    });
    child.once('message', () => {
      clearTimeout(timer);
      letGo(child);
      resolve(child);
    });
    return promise;
  }
}

/** The one that all models of this process share. */
export const sandbox = new Sandbox();

/** While it works, the child keeps this process alive; while it waits, it does not. */
function hold(child: ChildProcess): void {
  child.ref();
  child.channel?.ref();
}

function letGo(child: ChildProcess): void {
  child.unref();
  child.channel?.unref();
}

function forkLimited(memory: number): ChildProcess {
  const flags = [
    `--max-old-space-size=${memory}`,
    // Code made of texts is nothing that any library here needs.
    '--disallow-code-generation-from-strings',
    // Node reads files to start; nothing is written, and no process or addon is loaded.
    '--permission',
    '--allow-fs-read=*',
    '--allow-worker',
    // Its guard pages alone would not fit into the bound on addresses.
    '--disable-wasm-trap-handler',
  ];
  const shell = '/bin/sh';
  const limited = process.platform === 'linux' && existsSync(shell);
  // No core files; an address space that ends what the bound on the heap does not see.
  const script = `ulimit -c 0; ulimit -v ${(memory + reserved) * 1024}; exec "$0" "$@"`;
  return fork(fileURLToPath(siblingModule(import.meta.url, 'sandbox-process')), [], {
    execPath: limited ? shell : process.execPath,
    execArgv: limited ? ['-c', script, process.execPath, ...flags] : flags,
    // Nothing of the user's: no tokens, no keys.
    env: {},
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'advanced',
  });
}
