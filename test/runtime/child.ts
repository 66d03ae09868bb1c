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

/** @param script body of an ES module; it may import by paths relative to this folder. */
export async function inChild(script: string, deadline: number, command: readonly string[] = [process.execPath]): Promise<Ended> {
  const started = performance.now();
  const [program = process.execPath, ...before] = command;
  const child = spawn(program, [...before, '--input-type=module-typescript', '--eval', script], { cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stdout.on('data', (text: Buffer) => (said += text.toString()));
  child.stderr.on('data', (text: Buffer) => (said += text.toString()));
  let killed = false;
  const timer = setTimeout(() => {
    killed = true;
    child.kill('SIGKILL');
  }, deadline);
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.on('close', (exit, by) => resolve({ code: exit, signal: by }));
  });
  clearTimeout(timer);
  return { code, signal, said, milliseconds: performance.now() - started, killed };
}
