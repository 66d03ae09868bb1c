// Runs a script that may crash or hang in a child process, under a deadline that kills it.
import { spawn } from 'node:child_process';

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly said: string;
  readonly milliseconds: number;
  /** Killed by us, because it had not ended by itself. */
  readonly killed: boolean;
}

export interface ChildOptions {
  /** Milliseconds until it is killed. */
  readonly deadline: number;
  /** Once it has said this, it has `grace` milliseconds left: how long it takes to come so far depends on the machine's load. */
  readonly after?: { readonly text: string; readonly grace: number };
  readonly nodeFlags?: readonly string[];
}

/** @param script body of an ES module; it may import by paths relative to this folder. */
export async function inChild(script: string, { deadline, after, nodeFlags = [] }: ChildOptions): Promise<Ended> {
  const started = performance.now();
  const child = spawn(process.execPath, [...nodeFlags, '--input-type=module-typescript', '--eval', script], {
    cwd: import.meta.dirname,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  let killed = false;
  const kill = (): void => {
    killed = true;
    child.kill('SIGKILL');
  };
  let timer = setTimeout(kill, deadline);
  let came = false;
  const hear = (text: Buffer): void => {
    said += text.toString();
    if (came || after === undefined || !said.includes(after.text)) return;
    came = true;
    clearTimeout(timer);
    timer = setTimeout(kill, after.grace);
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.on('close', (exit, by) => resolve({ code: exit, signal: by }));
  });
  clearTimeout(timer);
  return { code, signal, said, milliseconds: performance.now() - started, killed };
}
