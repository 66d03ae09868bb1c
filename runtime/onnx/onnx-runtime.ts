// ONNX Runtime, its CPU provider, in a child process: what it crashes at is an error here, and while it computes our thread is free.
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { OpabiniaError } from '../../dsl/error.ts';
import { siblingModule } from '../files/package-files.ts';
import type { OpenModel, Reply, Request, Results, RunModel } from './wire.ts';

type Asked = Request extends infer R ? (R extends Request ? Omit<R, 'id'> : never) : never;

/** The package is not there. */
export class NoOnnxRuntimeError extends OpabiniaError {
  constructor() {
    super('onnxruntime-node is not installed', { op: 'ONNX Runtime', advice: 'npm install onnxruntime-node' });
    this.name = new.target.name;
  }
}

export interface OnnxSession {
  run(what: RunModel): Promise<Results>;
  close(): Promise<void>;
}

/** The child process. Throws `OpabiniaError` with ONNX Runtime's own message where a model does not load or run. */
export class OnnxRuntime {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { readonly resolve: (result: Results) => void; readonly reject: (error: Error) => void }
  >();
  #count = 0;
  #sessions = 0;
  #memory = { now: 0, peak: 0 };
  #ended: OpabiniaError | undefined;

  constructor() {
    this.#child = fork(fileURLToPath(siblingModule(import.meta.url, 'onnx-worker')), {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let complaint = '';
    this.#child.stderr?.on('data', (text: Buffer) => {
      complaint = (complaint + text.toString()).slice(-2000);
    });
    this.#child.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      this.#memory = reply.memory ?? this.#memory;
      if (reply.result === undefined)
        waiting?.reject(new OpabiniaError(reply.error ?? 'no answer', { op: 'ONNX Runtime' }));
      else waiting?.resolve(reply.result);
    });
    // A request that finds the pipe closed: what ended the process is told by `close`. Where none was started, nothing else is.
    this.#child.on('error', (cause) => {
      if (this.#child.pid === undefined)
        this.#end(new OpabiniaError(`the process does not start: ${cause.message}`, { op: 'ONNX Runtime', cause }));
    });
    // After its last words: `exit` may come before them.
    this.#child.on('close', (code, signal) => {
      const missing = complaint.includes('onnxruntime-node') && complaint.includes('ERR_MODULE_NOT_FOUND');
      this.#end(
        missing
          ? new NoOnnxRuntimeError()
          : new OpabiniaError(
              `the process ended (${signal ?? code ?? 'unknown'})${complaint === '' ? '' : `:\n${complaint}`}`,
              { op: 'ONNX Runtime' },
            ),
      );
    });
  }

  /** Answers all who wait, and all who come. */
  #end(error: OpabiniaError): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
  }

  /** Settles when the package is loaded. Throws `NoOnnxRuntimeError`, and `OpabiniaError` where it has no build for this machine. */
  async ready(): Promise<void> {
    await this.#ask({ kind: 'hello' });
  }

  /** Bytes of memory that the process had when it answered last, and the most it had. */
  get memory(): { readonly now: number; readonly peak: number } {
    return this.#memory;
  }

  /** A session on a model file, or on the bytes of one without external data. */
  async open(what: string | Uint8Array | OpenModel): Promise<OnnxSession> {
    const options = typeof what === 'string' || what instanceof Uint8Array ? { model: what } : what;
    const session = this.#sessions++;
    await this.#ask({ kind: 'open', session, ...options });
    return {
      run: (run) => this.#ask({ kind: 'run', session, ...run }),
      close: async () => {
        await this.#ask({ kind: 'close', session });
      },
    };
  }

  /** States of these names begin as zeros again, and take no memory until then. */
  async forget(keys: readonly string[]): Promise<void> {
    await this.#ask({ kind: 'forget', keys });
  }

  close(): void {
    this.#child.kill();
  }

  #ask(request: Asked): Promise<Results> {
    return new Promise((resolve, reject) => {
      if (!this.#child.connected && this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      const id = this.#count++;
      // Where the process is gone and has not said why yet, its end answers.
      this.#waiting.set(id, { resolve, reject });
      if (this.#child.connected) this.#child.send({ ...request, id } satisfies Request);
    });
  }
}
