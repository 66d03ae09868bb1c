// The race's end of a child process: commands as promises, a child that crashed or hangs ends as an error and is started anew.
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Command, Generated, Job, Judgement, Model, PeerFacts, PeerName, Prepared, Reply } from './protocol.ts';

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class PeerProcess {
  readonly name: PeerName | 'judge';
  readonly #environment: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #waiting = new Map<number, Waiting>();
  #next = 0;
  #said = '';

  constructor(name: PeerName | 'judge', environment: Readonly<Record<string, string>> = {}) {
    this.name = name;
    this.#environment = environment;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  open(): Promise<PeerFacts> {
    return this.ask({ kind: 'open' }, 120) as Promise<PeerFacts>;
  }

  prepare(job: Job, seconds: number): Promise<Prepared> {
    return this.ask({ kind: 'prepare', job }, seconds) as Promise<Prepared>;
  }

  outputs(seconds: number): Promise<Readonly<Record<string, Float32Array>>> {
    return this.ask({ kind: 'outputs' }, seconds) as Promise<Readonly<Record<string, Float32Array>>>;
  }

  time(runs: number, seconds: number): Promise<readonly number[]> {
    return this.ask({ kind: 'time', runs }, seconds) as Promise<readonly number[]>;
  }

  settle(): Promise<boolean> {
    return this.ask({ kind: 'settle' }, 60) as Promise<boolean>;
  }

  peak(): Promise<number | undefined> {
    return this.ask({ kind: 'peak' }, 60) as Promise<number | undefined>;
  }

  async drop(): Promise<void> {
    await this.ask({ kind: 'drop' }, 60);
  }

  roofline(quick: boolean): Promise<{ readonly flopsPerSecond: number; readonly bytesPerSecond: number }> {
    return this.ask({ kind: 'roofline', quick }, 300) as Promise<{
      readonly flopsPerSecond: number;
      readonly bytesPerSecond: number;
    }>;
  }

  generate(answers: number, tokens: number, seconds: number): Promise<Generated> {
    return this.ask({ kind: 'generate', answers, tokens }, seconds) as Promise<Generated>;
  }

  judge(job: Job): Promise<Judgement> {
    return this.ask({ kind: 'judge', job }, 1800) as Promise<Judgement>;
  }

  export(job: Job, path: string, plain: boolean): Promise<Model> {
    return this.ask({ kind: 'export', job, path, plain }, 600) as Promise<Model>;
  }

  /** Throws when the child answers with an error, ends, or takes longer than `seconds`; in the last case it is ended. */
  async ask(command: Command, seconds: number): Promise<unknown> {
    const child = this.#child ?? this.#start();
    const id = this.#next++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { resolve, reject });
    const timer = setTimeout(() => {
      this.#fail(`took longer than ${seconds} s to ${command.kind}`);
      child.kill('SIGKILL');
    }, seconds * 1000);
    child.send({ ...command, id });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the child; the next command starts another. */
  stop(): void {
    const child = this.#child;
    this.#fail('was stopped');
    child?.kill('SIGKILL');
  }

  #start(): ChildProcess {
    const child = fork(join(import.meta.dirname, `${this.name}.ts`), [], {
      serialization: 'advanced',
      execArgv: ['--expose-gc', '--max-old-space-size=12288', '--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, ...this.#environment },
    });
    this.#child = child;
    this.#said = '';
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text: Buffer) => {
        this.#said = `${this.#said}${text.toString()}`.slice(-4000);
      });
    child.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if ('message' in reply) waiting?.reject(new Error(reply.message));
      else waiting?.resolve(reply.value);
    });
    child.on('exit', (code, signal) => {
      if (this.#child !== child) return;
      const words = lastWords(this.#said);
      this.#fail(`crashed (${signal ?? `exit ${code ?? '?'}`})${words === undefined ? '' : `: ${words}`}`);
    });
    child.on('error', (error) => {
      if (this.#child === child) this.#fail(error.message);
    });
    return child;
  }

  #fail(message: string): void {
    this.#child = undefined;
    const waiting = this.#waiting;
    this.#waiting = new Map();
    for (const { reject } of waiting.values()) reject(new Error(message));
  }
}

/** What a process that crashed said of it: the last line that speaks of an error, or else its last line. */
function lastWords(said: string): string | undefined {
  const lines = said
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^(Warning:|Node\.js v)/.test(line));
  return lines.findLast((line) => /error|what\(\)|terminate|fatal|abort/i.test(line)) ?? lines.at(-1);
}
