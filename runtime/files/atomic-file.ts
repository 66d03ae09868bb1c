// The one way in which results are written: beside the target, counted, flushed to the disk, and renamed when they are whole.
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { codeOf, systemAdvice } from './system-error.ts';

export interface AtomicOptions {
  /** Files that are read to make this one: it replaces none of them, whatever name they have. */
  readonly inputs?: readonly string[] | undefined;
  /** What is being done, for messages. */
  readonly op?: string | undefined;
}

const mostAtOnce = 2 ** 30;

/**
 * A file in the making. Its name holds what it held before, or nothing, until `commit`; then all of it. A process that is killed leaves
 * at most a file `.NAME.….partial` in the same folder.
 */
export class AtomicFile {
  readonly path: string;
  readonly #beside: string;
  readonly #op: string;
  #descriptor: number | undefined;
  #bytes = 0;

  /** Throws `OpabiniaError` where the folder is missing, or the name is a link, an input, or not a file. */
  constructor(path: string, { inputs = [], op = 'write' }: AtomicOptions = {}) {
    this.path = resolve(path);
    this.#op = op;
    refuseTarget(this.path, inputs, op);
    // The partial name must not be longer than the name itself may be.
    const stem = basename(this.path).slice(0, 100);
    this.#beside = join(dirname(this.path), `.${stem}.${randomBytes(6).toString('hex')}.partial`);
    this.#descriptor = this.#trying(() => openSync(this.#beside, 'wx'));
  }

  /** Bytes written so far: where the next ones begin. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Appends all of the bytes. Throws `OpabiniaError` when the disk is full; the file is gone then. */
  write(bytes: Uint8Array | string): void {
    const descriptor = this.#open();
    const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    this.#trying(() => {
      // A call may write less than it was given, and takes less than 2 GiB.
      for (let done = 0; done < data.byteLength;) {
        const count = writeSync(descriptor, data, done, Math.min(data.byteLength - done, mostAtOnce));
        if (count <= 0) throw new Error(`${data.byteLength - done} bytes were not taken`);
        done += count;
      }
    });
    this.#bytes += data.byteLength;
  }

  /** Gives the file its name. After this it is on the disk. */
  commit(): void {
    const descriptor = this.#open();
    this.#trying(() => {
      fsyncSync(descriptor);
      closeSync(descriptor);
      this.#descriptor = undefined;
      renameSync(this.#beside, this.path);
    });
    flushFolder(dirname(this.path));
  }

  /** Forgets what was written; nothing happens after `commit`. */
  abort(): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    rmSync(this.#beside, { force: true });
  }

  #open(): number {
    if (this.#descriptor === undefined) throw new TypeError(`${this.path} is not open for writing`);
    return this.#descriptor;
  }

  #trying<T>(step: () => T): T {
    try {
      return step();
    } catch (cause) {
      this.abort();
      rmSync(this.#beside, { force: true });
      throw writeError(this.path, this.#op, cause);
    }
  }
}

/** Writes a whole file at once. Throws `OpabiniaError`; the name then holds what it held before. */
export function writeFileAtomic(path: string, content: Uint8Array | string, options: AtomicOptions = {}): void {
  const file = new AtomicFile(path, options);
  file.write(content);
  file.commit();
}

function writeError(path: string, op: string, cause: unknown): OpabiniaError {
  if (cause instanceof OpabiniaError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new OpabiniaError(`${path} could not be written: ${reason}`, {
    op,
    cause,
    advice: codeOf(cause) === 'ENOENT' ? 'make the folder first' : systemAdvice(cause),
  });
}

function refuseTarget(path: string, inputs: readonly string[], op: string): void {
  const refuse = (what: string, todo: string): never => {
    throw new OpabiniaError(what, { op, advice: todo });
  };
  const there = looking(path, op);
  const folder = statSync(dirname(path), { throwIfNoEntry: false });
  if (folder?.isDirectory() !== true) refuse(`there is no directory ${dirname(path)}`, 'make it first');
  if (there === undefined) return;
  if (there.isSymbolicLink()) refuse(`${path} is a link`, 'give the file that it leads to, or another name');
  if (there.isDirectory()) refuse(`${path} is a directory`, 'give the name of a file');
  if (!there.isFile()) refuse(`${path} is not a regular file`, 'give another name');
  const input = inputs.find((each) => {
    const known = statSync(each, { throwIfNoEntry: false });
    return known !== undefined && known.ino === there.ino && known.dev === there.dev;
  });
  if (input !== undefined)
    refuse(
      resolve(input) === path
        ? `${path} is read to make it`
        : `${path} is another name of ${input}, which is read to make it`,
      'give another name',
    );
}

function looking(path: string, op: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    throw writeError(path, op, cause);
  }
}

/** The new name survives a power cut once the folder is flushed; not every system lets a folder be opened. */
function flushFolder(folder: string): void {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(folder, 'r');
    fsyncSync(descriptor);
  } catch {
    // The file itself is safe; only its name may be the old one after a power cut.
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
