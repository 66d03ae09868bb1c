// `node bench/serve.ts [DIR] [--seconds 60] [--clients 32]`: a server in a process of its own under load of clients that ask without a
// pause, whole and in pieces; what it answers in a second, and what its memory grows by. Exit code 1 where a request fails or memory grows.
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';

const root = join(import.meta.dirname, '..');
/** Bytes of resident memory that a server may grow by under load, once it is warm. */
const mostGrowth = 32 * 2 ** 20;
/** Requests after which V8's heap has its working size: a busy machine answers too few in a minute. */
const warmAfter = 4000;

export interface Load {
  readonly requests: number;
  readonly failures: readonly string[];
  readonly tokens: number;
  readonly seconds: number;
  /** Resident bytes when the server was warm, and in the end. */
  readonly before: number;
  readonly after: number;
}

/** A server of the command line; `serve`: what stands behind the command. */
export async function startServer(
  serve: readonly string[],
): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const child = spawn(process.execPath, [join(root, 'cli/opabinia.ts'), 'serve', ...serve, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ready = Promise.withResolvers<string>();
  createInterface({ input: child.stdout }).once('line', ready.resolve);
  child.once('exit', (code) => ready.reject(new Error(`the server ended with ${code}`)));
  return { url: await ready.promise, child };
}

/** Load for so many seconds, after as many, or as many as it takes, that do not count: V8's heap grows to its working size. `ask`: the n-th request of all. */
export async function underLoad(
  url: string,
  { seconds, clients }: { readonly seconds: number; readonly clients: number },
  ask: (n: number) => object,
): Promise<Load> {
  const failures: string[] = [];
  let [requests, tokens, next] = [0, 0, 0];
  const run = async (isOver: () => boolean): Promise<void> => {
    const client = async (): Promise<void> => {
      while (!isOver()) {
        const n = next++;
        try {
          const response = await fetch(`${url}/chat/completions`, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ ...ask(n), stream: n % 2 === 1, stream_options: { include_usage: true } }),
          });
          const text = await response.text();
          const counted = /"completion_tokens":(\d+)/.exec(text)?.[1];
          if (response.status !== 200 || counted === undefined || text.includes('"error"'))
            failures.push(text.slice(0, 300));
          requests++;
          tokens += Number(counted ?? 0);
        } catch (error) {
          failures.push(String(error));
        }
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
  };
  const end = performance.now() + 1000 * seconds;
  await run(() => performance.now() > end && (requests >= warmAfter || failures.length > 0));
  await sleep(500);
  const before = await residentBytes(url);
  [requests, tokens] = [0, 0];
  const began = performance.now();
  await run(() => performance.now() > began + 1000 * seconds);
  const took = (performance.now() - began) / 1000;
  await sleep(500);
  return { requests, failures, tokens, seconds: took, before, after: await residentBytes(url) };
}

async function residentBytes(url: string): Promise<number> {
  const text = await (await fetch(url.replace(/\/v1$/, '/metrics'))).text();
  return Number(/^process_resident_memory_bytes (\d+)$/m.exec(text)?.[1] ?? NaN);
}

/** Whether the server held. */
export function held({ failures, before, after }: Load): boolean {
  return failures.length === 0 && after - before <= mostGrowth;
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seconds: { type: 'string', default: '60' }, clients: { type: 'string', default: '32' } },
  });
  const [directory] = positionals;
  if (directory === undefined) throw new Error('node bench/serve.ts DIR [--seconds 60] [--clients 32]');
  const { url, child } = await startServer([directory, '--name', 'model']);
  const load = await underLoad(url, { seconds: Number(values.seconds), clients: Number(values.clients) }, (n) => ({
    model: 'model',
    messages: [{ role: 'user', content: `What ${'really '.repeat(n % 7)}is number ${n}?` }],
    max_tokens: 4 + (n % 29),
    temperature: n % 3 === 0 ? 0.8 : 0,
    seed: n,
  }));
  child.kill('SIGTERM');
  const mebi = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  console.log(
    `${load.requests} answers in ${load.seconds.toFixed(1)} s, ${(load.tokens / load.seconds).toFixed(1)} tokens/s; resident ${mebi(load.before)} when warm, ${mebi(load.after)} in the end; ${load.failures.length} failed${load.failures
      .slice(0, 3)
      .map((text) => `\n  ${text}`)
      .join('')}`,
  );
  process.exitCode = held(load) ? 0 : 1;
}
