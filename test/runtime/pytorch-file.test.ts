// PyTorch's own files: what torch.save wrote is read, bit for bit; what is more than data is refused by name; damage is told.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { openPytorchFile } from '../../runtime/checkpoint/pytorch/pytorch-file.ts';
import { randomNumbers } from '../support/generate.ts';

const golden = join(import.meta.dirname, '../golden/pytorch');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-pytorch-'));
afterAll(() => rmSync(scratch, { recursive: true }));

describe.each(['state-dict.bin', 'wrapped.pt'])('%s, by torch.save of PyTorch 2', (name) => {
  test('has the names, shapes, dtypes and bytes that safetensors has of it', () => {
    const [read, expected] = [
      openCheckpoint(join(golden, name)),
      openCheckpoint(join(golden, 'state-dict.expected.safetensors')),
    ];
    expect([...read.stored.keys()].sort()).toEqual([...expected.stored.keys()].sort());
    for (const [tensor, { dtype, shape }] of expected.stored) {
      expect(read.stored.get(tensor)).toMatchObject({ dtype, shape });
      expect(read.tensor(tensor)).toEqual(expected.tensor(tensor));
    }
    // A range of a transposed tensor, which does not lie row by row.
    expect(read.part('t', [5, 6], 7, 9)).toEqual(Float32Array.from(expected.tensor('t') as Float32Array).slice(7, 16));
    read.close();
    expected.close();
  });
});

test('an index of shards in the format of PyTorch', () => {
  writeFileSync(join(scratch, 'pytorch_model-00001-of-00001.bin'), readFileSync(join(golden, 'state-dict.bin')));
  const names = [...openPytorchFile(join(golden, 'state-dict.bin')).tensors.keys()];
  writeFileSync(
    join(scratch, 'pytorch_model.bin.index.json'),
    JSON.stringify({ weight_map: Object.fromEntries(names.map((name) => [name, 'pytorch_model-00001-of-00001.bin'])) }),
  );
  expect([...openCheckpoint(scratch).stored.keys()].sort()).toEqual([...names].sort());
});

describe('refusals', () => {
  test.each([
    ['module.pt', /refers to torch\.nn\.modules\.container\.Sequential[^]*state_dict/],
    ['before-1.6.bin', /before PyTorch 1\.6[^]*save it again/],
  ])('%s', (name, message) => expect(() => openPytorchFile(join(golden, name))).toThrow(message));

  test('a pickle that would run a command, had it been run', () => {
    const bytes = readFileSync(join(golden, 'state-dict.bin'));
    const at = bytes.indexOf('ctorch._utils\n_rebuild_tensor_v2\n');
    expect(at).toBeGreaterThan(0);
    bytes.write('cos\nsystem\n'.padEnd(34, ' '), at, 'latin1');
    const path = join(scratch, 'evil.bin');
    writeFileSync(path, bytes);
    expect(() => openPytorchFile(path)).toThrow(/refers to os\.system/);
  });

  test('damage anywhere is a typed error, or reads within the file', () => {
    const bytes = readFileSync(join(golden, 'state-dict.bin'));
    const next = randomNumbers(7);
    const path = join(scratch, 'damaged.bin');
    let refused = 0;
    for (let round = 0; round < 1500; round++) {
      const copy = Buffer.from(bytes.subarray(0, next() < 0.1 ? Math.floor(next() * bytes.length) : bytes.length));
      for (let i = 0; i < 1 + next() * 6 && copy.length > 0; i++)
        copy[Math.floor(next() * copy.length)] = Math.floor(next() * 256);
      writeFileSync(path, copy);
      try {
        const file = openPytorchFile(path);
        for (const tensor of file.tensors.values()) file.readInto(tensor.name, new Uint8Array(tensor.bytes));
        file.close();
      } catch (error) {
        expect(error).toBeInstanceOf(OpabiniaError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(100);
  });
});
