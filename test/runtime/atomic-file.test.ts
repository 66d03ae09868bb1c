// Results are written whole or not at all, and never over what they are made from.
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AtomicFile, writeFileAtomic } from '../../runtime/files/atomic-file.ts';
import { systemError } from '../../runtime/files/system-error.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'opabinia-atomic-'));
});
afterEach(() => {
  chmodSync(folder, 0o700);
  rmSync(folder, { recursive: true });
});
const at = (name: string): string => join(folder, name);

test('the name holds the older file until the new one is whole', () => {
  writeFileSync(at('a'), 'old');
  const file = new AtomicFile(at('a'));
  file.write('new');
  file.write(new Uint8Array([33]));
  expect(file.bytes).toBe(4);
  expect(readFileSync(at('a'), 'utf8')).toBe('old');
  file.commit();
  file.abort();
  expect(readFileSync(at('a'), 'utf8')).toBe('new!');
  expect(readdirSync(folder)).toEqual(['a']);
});

test('what is given up leaves nothing behind', () => {
  writeFileSync(at('a'), 'old');
  const file = new AtomicFile(at('a'));
  file.write('half');
  file.abort();
  expect(readdirSync(folder)).toEqual(['a']);
  expect(readFileSync(at('a'), 'utf8')).toBe('old');
});

describe('refusals', () => {
  test('a link, wherever it leads', () => {
    writeFileSync(at('precious'), 'weights');
    symlinkSync(at('precious'), at('link'));
    symlinkSync(at('nowhere'), at('dangling'));
    expect(() => writeFileAtomic(at('link'), 'x')).toThrow(/link is a link/);
    expect(() => writeFileAtomic(at('dangling'), 'x')).toThrow(/dangling is a link/);
    expect(readFileSync(at('precious'), 'utf8')).toBe('weights');
  });

  test('an input, by its name and by another one', () => {
    writeFileSync(at('precious'), 'weights');
    linkSync(at('precious'), at('second'));
    for (const name of ['precious', 'second'])
      expect(() => writeFileAtomic(at(name), 'x', { inputs: [at('precious')] })).toThrow(/is read to make it/);
    // A second name that is not an input gets a file of its own; the first keeps what it had.
    writeFileAtomic(at('second'), 'x');
    expect(readFileSync(at('precious'), 'utf8')).toBe('weights');
  });

  test('what is not a file, and folders that are not there', () => {
    expect(() => writeFileAtomic(folder, 'x')).toThrow(/is a directory/);
    expect(() => writeFileAtomic(at('no/where'), 'x')).toThrow(/there is no directory/);
    execFileSync('mkfifo', [at('pipe')]);
    expect(() => writeFileAtomic(at('pipe'), 'x')).toThrow(/not a regular file/);
    expect(() => writeFileAtomic(at('n'.repeat(300)), 'x')).toThrow(/shorter name/);
  });

  test.skipIf(!existsSync('/dev/full') || process.getuid?.() === 0)('a folder that may not be written to', () => {
    chmodSync(folder, 0o500);
    expect(() => writeFileAtomic(at('a'), 'x')).toThrow(/may write/);
  });
});

test('killed half-way, the older file is whole', async () => {
  writeFileSync(at('a'), 'old');
  const script = `import { AtomicFile } from ${JSON.stringify(join(import.meta.dirname, '../../runtime/files/atomic-file.ts'))};
const file = new AtomicFile(${JSON.stringify(at('a'))});
for (let i = 0; ; i++) { file.write(new Uint8Array(1 << 16)); if (i === 8) console.log('writing'); }`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(readFileSync(at('a'), 'utf8')).toBe('old');
});

test('what is not there, and what is there already, is said in words', () => {
  let missing: unknown;
  try {
    readFileSync(at('no.json'));
  } catch (cause) {
    missing = systemError(cause, 'data')?.message;
  }
  expect(missing).toBe(`data: there is no ${at('no.json')}\n  try check the path`);
  const there = Object.assign(new Error('EEXIST'), { code: 'EEXIST', syscall: 'mkdir', path: 'out' });
  expect(systemError(there)?.what).toBe('out is there already');
});

test('a folder that could not be made may lie where nothing may be written', () => {
  // What Node throws of `mkdirSync(path, { recursive: true })` on a file system that is read-only.
  const refused = (syscall: string): Error => Object.assign(new Error('ENOENT'), { code: 'ENOENT', syscall });
  expect(systemError(refused('mkdir'))?.advice).toMatch(/folder above it may be written/);
  expect(systemError(refused('open'))?.advice).toBe('check the path');
});
