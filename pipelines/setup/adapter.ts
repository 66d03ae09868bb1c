// Asks, from a safe distance, whether this machine has an adapter that Dawn accepts.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { siblingModule } from '../../runtime/files/package-files.ts';
import type { DeviceFacts } from '../../runtime/device/device.ts';

export type Probe =
  | { readonly found: 'adapter'; readonly facts: DeviceFacts }
  | { readonly found: 'none' }
  /** Dawn itself cannot be loaded here. */
  | { readonly found: 'unsupported'; readonly why: string }
  /** The driver crashed or did not answer. */
  | { readonly found: 'broken'; readonly why: string };

const patience = 30_000;

/** Looks for an adapter in a child process, which a broken driver may take down or hang. */
export function probe(): Probe {
  const child = spawnSync(process.execPath, [fileURLToPath(siblingModule(import.meta.url, 'probe'))], {
    encoding: 'utf8',
    timeout: patience,
    killSignal: 'SIGKILL',
  });
  const line = child.stdout?.split('\n').find((text) => text.startsWith('{"found"'));
  // The answer counts even when the driver falls over at exit.
  if (line !== undefined) return JSON.parse(line) as Probe;
  const said = (child.stderr ?? '').trim().split('\n').slice(-3).join('\n');
  const how = child.error?.message.includes('ETIMEDOUT')
    ? `no answer within ${patience / 1000} s`
    : child.signal !== null
      ? `killed by ${child.signal}`
      : `exit code ${child.status ?? '?'}`;
  return { found: 'broken', why: said === '' ? how : `${how}: ${said}` };
}
