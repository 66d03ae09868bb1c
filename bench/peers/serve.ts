// A child process of the race: takes commands one after the other and answers each.
import { readFileSync, writeFileSync } from 'node:fs';
import type { Command, Job, Judgement, Model, Peer, Reply, Request } from './protocol.ts';

export interface Served extends Peer {
  judge?(job: Job): Promise<Judgement>;
  export?(job: Job, path: string, plain: boolean): Promise<Model>;
}

/** Serves until the parent goes. */
export function serve(peer: Served): void {
  if (process.send === undefined) {
    console.error('this file is a peer of the benchmark: npm run bench -- --help');
    process.exit(1);
  }
  let last: Promise<void> = Promise.resolve();
  process.on('message', (request: Request) => {
    last = last.then(async () => {
      let reply: Reply;
      try {
        reply = { id: request.id, value: await answer(peer, request) };
      } catch (error) {
        reply = {
          id: request.id,
          message: error instanceof Error && error.message !== '' ? error.message : String(error),
        };
      }
      process.send?.(reply);
    });
  });
  // Libraries keep a process alive with their threads.
  process.on('disconnect', () => process.exit(0));
}

async function answer(peer: Served, command: Command): Promise<unknown> {
  switch (command.kind) {
    case 'open':
      return peer.open();
    case 'prepare':
      return peer.prepare(command.job);
    case 'outputs':
      return peer.outputs();
    case 'time': {
      const times: number[] = [];
      for (let i = 0; i < command.runs; i++) {
        const started = performance.now();
        await peer.run();
        times.push(performance.now() - started);
      }
      return times;
    }
    case 'settle':
      return settle();
    case 'peak':
      return peak();
    case 'drop':
      await peer.drop();
      return settle();
    case 'roofline':
      return peer.roofline?.(command.quick);
    case 'generate':
      return peer.generate?.(command.answers, command.tokens);
    case 'judge':
      return peer.judge?.(command.job);
    case 'export':
      return peer.export?.(command.job, command.path, command.plain);
    default:
      return command satisfies never;
  }
}

/** What was needed to prepare a case is not what it needs to run. */
function settle(): boolean {
  globalThis.gc?.();
  try {
    // Linux: 5 sets the largest resident size so far to the present one.
    writeFileSync('/proc/self/clear_refs', '5');
    return true;
  } catch {
    return false;
  }
}

/** Largest resident size since `settle`, bytes; undefined where the system does not tell. */
function peak(): number | undefined {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}
