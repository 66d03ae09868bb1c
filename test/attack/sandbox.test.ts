// Templates and tokenizers of strangers: whatever they do, this process lives, goes on, and can be interrupted.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { modelFiles } from '../../runtime/checkpoint/hub.ts';
import { Sandbox } from '../../runtime/sandbox/sandbox.ts';
import { renderTemplate, templateLimits } from '../../runtime/text/chat-template.ts';
import { openTokenizer, SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import { endless, writeHostileTokenizer } from './hostile-tokenizer.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-sandbox-'));
beforeAll(() => writeHostileTokenizer(root));
afterAll(() => rmSync(root, { recursive: true }));

async function refusal(result: Promise<unknown>): Promise<string> {
  const error: unknown = await result.then(
    (value) => new Error(`gave ${JSON.stringify(value).slice(0, 80)}`),
    (reason: unknown) => reason,
  );
  if (error instanceof OpabiniaError) return error.message;
  throw error;
}

describe('templates', () => {
  // A text of 2²⁸ characters by doubling, and what made V8 end the whole process, thread and all.
  const doubled = "{% set ns = namespace(s='ab') %}{% for i in range(27) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
  test.each(['upper', "replace('a', 'bbbb')", "split('b') | length", 'tojson'])(
    'of a doubled text, %s',
    async (filter) => {
      const small = new Sandbox(128);
      const said = await refusal(
        renderTemplate(`${doubled}{{ (ns.s | ${filter}) }}`, {}, { ...templateLimits, time: 3_000 }, small),
      );
      expect(said).toMatch(/^chatTemplate: the chat template (takes more than 128 MiB|runs for more than|gives|fails)/);
      expect(await renderTemplate('{{ 1 + 1 }}', {}, undefined, small)).toBe('2');
      await small.close();
    },
  );

  test('nothing of this process is in theirs', async () => {
    process.env['OPABINIA_TEST_SECRET'] = 'secret';
    const child = new Sandbox();
    await renderTemplate('a', {}, undefined, child);
    const own = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => parentOf(pid) === process.pid);
    for (const pid of own) expect(environmentOf(pid)).not.toContain('secret');
    await child.close();
  });
});

describe('tokenizers', () => {
  test('a regular expression without end costs its time, and another tokenizer goes on', async () => {
    const own = new Sandbox();
    const place = { path: join(root, 'tokenizer.json'), configPath: undefined };
    const [hostile, other] = [await SandboxTokenizer.open(place, own), await SandboxTokenizer.open(place, own)];
    const before = await other.encode([{ kind: 'user', text: 'cat' }]);
    const began = performance.now();
    let ticks = 0;
    const ticking = setInterval(() => ticks++, 50);
    expect(await refusal(hostile.encode([{ kind: 'user', text: endless }]))).toMatch(
      /tokenizer\.json runs for more than 5 s/,
    );
    clearInterval(ticking);
    expect(performance.now() - began).toBeLessThan(15_000);
    // This thread was never held.
    expect(ticks).toBeGreaterThan(20);
    expect(await other.encode([{ kind: 'user', text: 'cat' }])).toEqual(before);
    expect(await hostile.encode([{ kind: 'user', text: 'cat' }])).toEqual(before);
    await own.close();
  });

  test('Ctrl-C ends the process while one runs, and the child with it', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'hostile-tokenizer.ts'), root], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = new Promise<NodeJS.Signals | null>((resolve) => child.once('exit', (_, signal) => resolve(signal)));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const sandboxes = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && parentOf(pid) === child.pid);
    expect(sandboxes).toHaveLength(1);
    child.kill('SIGINT');
    expect(await exited).toBe('SIGINT');
    const alive = () => sandboxes.filter((pid) => stateOf(pid) !== undefined && stateOf(pid) !== 'Z');
    for (let tries = 0; tries < 100 && alive().length > 0; tries++) await sleep(100);
    expect(alive()).toEqual([]);
  });

  test('a question asks a warm process: what a round trip costs', async () => {
    const tokenizer = await openTokenizer(modelFiles(root));
    await tokenizer.encode([{ kind: 'user', text: 'cat' }]);
    const times: number[] = [];
    for (let i = 0; i < 60; i++) {
      const began = performance.now();
      await tokenizer.encode([{ kind: 'user', text: 'What is in this picture?' }]);
      times.push(performance.now() - began);
    }
    // The least of many: a busy machine adds to each, and a process that is started anew costs a hundred times as much.
    expect(Math.min(...times)).toBeLessThan(5);
  });
});

function stat(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
  } catch {
    return [];
  }
}
const parentOf = (pid: string): number => Number(stat(pid)[1] ?? NaN);
const stateOf = (pid: string): string | undefined => stat(pid)[0];

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1');
  } catch {
    return '';
  }
}
