// Model directories of strangers: links, pipes, devices, names, sizes; each is refused by a typed error, at once, and nothing outside is read.
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { makeDirectory } from '../../examples/made/directory.ts';
import { readTower } from '../../models/configs/read.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, readJsonFile, resolveModel } from '../../runtime/checkpoint/hub.ts';
import { decodeImage, expandToSquare } from '../../runtime/image/image.ts';
import { printable } from '../../runtime/text/printable.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'opabinia-directory-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
const at = (...names: readonly string[]): string => join(folder, ...names);

async function refusal(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (error instanceof OpabiniaError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('links', () => {
  const commit = 'a'.repeat(40);
  test("a shipped link into ../../blobs counts only in a real snapshot of the hub's cache", async () => {
    for (const place of [`models--o--n/snapshots/${commit}`, 'shipped/snapshots/model', `shipped/other/${commit}`]) {
      mkdirSync(at(place), { recursive: true });
      mkdirSync(at(place, '../../blobs'), { recursive: true });
      writeFileSync(at(place, '../../blobs/secret'), '{"chat_template": "x"}');
      symlinkSync('../../blobs/secret', at(place, 'tokenizer_config.json'));
    }
    expect(modelFiles(at(`models--o--n/snapshots/${commit}`)).tokenizerConfig).toBeDefined();
    for (const place of ['shipped/snapshots/model', `shipped/other/${commit}`])
      expect(await refusal(() => modelFiles(at(place)))).toContain('leads out of its directory');
  });

  test('a directory is what it really is, whatever link it was reached by', async () => {
    mkdirSync(at('model'));
    mkdirSync(at('models--o--n/snapshots'), { recursive: true });
    mkdirSync(at('models--o--n/blobs'));
    writeFileSync(at('models--o--n/blobs/secret'), '{}');
    symlinkSync('../models--o--n/blobs/secret', at('model/config.json'));
    symlinkSync(at('model'), at('models--o--n/snapshots', commit));
    expect(await refusal(() => modelFiles(at('models--o--n/snapshots', commit)))).toContain('leads out');
  });
});

describe.skipIf(process.platform === 'win32')('what is not a file', () => {
  test('a pipe as an index, a config, an image', async () => {
    for (const name of ['model.safetensors.index.json', 'config.json', 'cat.png', 'pytorch_model.bin'])
      execFileSync('mkfifo', [at(name)]);
    expect(await refusal(() => openCheckpoint(at('model.safetensors.index.json')))).toContain('is not a regular file');
    expect(await refusal(() => openCheckpoint(at('pytorch_model.bin')))).toMatch(/not a (?:regular )?file/);
    expect(await refusal(() => readJsonFile(at('config.json')))).toContain('is not a regular file');
    expect(await refusal(() => decodeImage(at('cat.png')))).toContain('is not a regular file');
  });
  test('a device', async () => {
    expect(await refusal(() => decodeImage('/dev/zero'))).toContain('is not a regular file');
    expect(await refusal(() => readJsonFile('/dev/zero'))).toContain('is not a regular file');
  });
  test('names that the system refuses', async () => {
    const long = at('a'.repeat(5000));
    for (const action of [
      () => resolveModel(long),
      () => modelFiles(long),
      () => openCheckpoint(long),
      () => decodeImage(long),
    ])
      expect(await refusal(action)).toMatch(/ENAMETOOLONG|there is no directory/);
  });
});

describe('sizes', () => {
  test('a sparse tensor of a terabyte', async () => {
    const bytes = 2 ** 40;
    const header = JSON.stringify({ x: { dtype: 'F32', shape: [bytes / 4], data_offsets: [0, bytes] } });
    const first = Buffer.alloc(8);
    first.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(at('x.safetensors'), Buffer.concat([first, Buffer.from(header)]));
    try {
      truncateSync(at('x.safetensors'), 8 + header.length + bytes);
    } catch {
      return; // The file system holds no such file, and so nobody can ship one.
    }
    const file = openCheckpoint(at('x.safetensors'));
    expect(await refusal(() => file.read('x', [bytes / 4]))).toContain('are read at once');
    expect(await refusal(() => file.tensor('x'))).toContain('are read at once');
    file.close();
  });

  test('a picture of 50,000,000 × 1', async () => {
    // A PNG's header says what its size is; nothing behind it is looked at.
    const header = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex');
    const size = Buffer.alloc(8);
    size.writeUInt32BE(50_000_000, 0);
    size.writeUInt32BE(1, 4);
    const rest = Buffer.from('0802000000', 'hex');
    const file = Buffer.concat([header, size, rest, Buffer.alloc(64)]);
    expect(await refusal(() => decodeImage(file))).toMatch(/side of more than 65535|could not be decoded/);
    const line = { width: 65_535, height: 1, rgb: new Uint8Array(3 * 65_535) };
    expect(await refusal(() => expandToSquare(line, [0, 0, 0]))).toContain('padded to 65535 × 65535');
  });
});

test('names that every object has are not architectures', async () => {
  for (const name of ['__proto__', 'constructor', 'toString'])
    expect(await refusal(() => readTower({ architecture: name }, 'config.json'))).toContain('is not known');
});

describe('directories that are made', () => {
  const making = (seed: number) => ({
    what: 'test',
    version: 1,
    seed,
    write: (directory: string) => {
      writeFileSync(join(directory, 'weights'), String(seed));
      return 1;
    },
  });
  test("a user's own file is not deleted by making it anew", async () => {
    makeDirectory(at('made'), making(1));
    writeFileSync(at('made/notes.txt'), 'mine');
    expect(await refusal(() => makeDirectory(at('made'), making(2)))).toMatch(/notes\.txt, which was not made here/);
    expect([readFileSync(at('made/notes.txt'), 'utf8'), readFileSync(at('made/weights'), 'utf8')]).toEqual([
      'mine',
      '1',
    ]);
    rmSync(at('made/notes.txt'));
    expect(makeDirectory(at('made'), making(2)).written).toBe(true);
    expect(readFileSync(at('made/weights'), 'utf8')).toBe('2');
  });
  test('what a killed process has left is cleaned up, or put back', () => {
    // No process has this number: Linux gives at most 2²².
    mkdirSync(at('made.99999999.partial'));
    mkdirSync(at('other.99999999.partial'));
    makeDirectory(at('made'), making(1));
    expect(readdirSync(folder).sort()).toEqual(['made', 'other.99999999.partial']);
    makeDirectory(at('back.99999999.before'), making(3));
    expect(makeDirectory(at('back'), making(3)).directory).toBe(at('back'));
    expect(readFileSync(at('back/weights'), 'utf8')).toBe('3');
  });
});

test('nothing that moves a cursor or turns the reading order reaches a terminal', () => {
  expect(printable('a\u001b[2J\u0007\u009b1m\u202eb\tc\nd')).toBe('a\\u001b[2J\\u0007\\u009b1m\\u202eb\tc\nd');
  expect(JSON.parse(printable(JSON.stringify({ text: '\u009b\u001b' })))).toEqual({ text: '\u009b\u001b' });
  const commands = join(import.meta.dirname, '../../cli');
  const own = ['output.ts', 'bin.ts', 'build.ts', 'setup.ts'];
  for (const file of readdirSync(commands).filter((name) => name.endsWith('.ts') && !own.includes(name)))
    expect(readFileSync(join(commands, file), 'utf8'), file).not.toMatch(/console\.|process\.std(?:out|err)\.write/);
});
