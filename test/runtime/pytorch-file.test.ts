// PyTorch's own files: what torch.save wrote is read, bit for bit; what is more than data is refused by name; damage is told.
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { openPytorchFile } from '../../runtime/checkpoint/pytorch/pytorch-file.ts';
import { randomNumbers } from '../support/generate.ts';
import { dictionary, pytorchBytes, tensor, text, whole, yes, zipEnd64 } from '../support/write-pytorch.ts';

const golden = join(import.meta.dirname, '../golden/pytorch');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-pytorch-'));
afterAll(() => rmSync(scratch, { recursive: true }));

describe.each(['state-dict.bin', 'wrapped.pt', 'before-1.6.bin'])('%s, by torch.save', (name) => {
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
  test('a whole module', () =>
    expect(() => openPytorchFile(join(golden, 'module.pt'))).toThrow(
      /refers to torch\.nn\.modules\.container\.Sequential[^]*state_dict/,
    ));

  test('a pickle that would run a command, had it been run', () => {
    const bytes = readFileSync(join(golden, 'state-dict.bin'));
    const at = bytes.indexOf('ctorch._utils\n_rebuild_tensor_v2\n');
    expect(at).toBeGreaterThan(0);
    bytes.write('cos\nsystem\n'.padEnd(34, ' '), at, 'latin1');
    const path = join(scratch, 'evil.bin');
    writeFileSync(path, bytes);
    expect(() => openPytorchFile(path)).toThrow(/refers to os\.system/);
  });

  const vector = { shape: [3], strides: [1], elements: 3 } as const;
  const values = Float32Array.of(1, 2, 3);
  const opened = (value: Buffer, storages: Readonly<Record<string, Float32Array>> = { 0: values }) => {
    const path = join(scratch, 'written.bin');
    writeFileSync(path, pytorchBytes(value, storages));
    return openPytorchFile(path);
  };

  test('dictionaries in dictionaries: known ones are gone into, others are told', () => {
    const weights = dictionary(['w', tensor(vector)]);
    const file = opened(dictionary(['epoch', whole(3)], ['model', dictionary(['state_dict', weights])]));
    expect([...file.tensors.keys()]).toEqual(['w']);
    file.close();
    expect(() => opened(dictionary(['teacher', weights], ['student', weights]))).toThrow(
      /no tensors by name, but dictionaries: 'teacher', 'student'/,
    );
    // One that holds itself: `}`, remembered, an item of its own.
    const itself = Buffer.concat([Buffer.from('}q\0'), text('model'), Buffer.from('h\0s')]);
    expect(() => opened(itself)).toThrow(/something other than a dictionary of tensors/);
  });

  test('a view that is negated when it is read has no values of its own', () => {
    const negated = tensor({ ...vector, marks: dictionary(['neg', yes]) });
    expect(() => opened(dictionary(['w', negated]))).toThrow(/tensor 'w' is a view that computes/);
  });

  test('a row that is repeated by a stride of 0 is read as often', () => {
    const file = opened(dictionary(['w', tensor({ shape: [2, 3], strides: [0, 1], elements: 3 })]));
    const target = new Float32Array(6);
    file.readInto('w', new Uint8Array(target.buffer));
    expect([...target]).toEqual([1, 2, 3, 1, 2, 3]);
    file.close();
  });

  test('much made of little', () => {
    const large = tensor({ shape: [100_000, 3], strides: [0, 1], elements: 3 });
    expect(() => opened(dictionary(['w', large]))).toThrow(/tensors of over 64 times its own size/);
    const many = Array.from(
      { length: 3000 },
      (_, i) => [`w${i}`, tensor({ ...vector, elements: 10_000, shape: [10_000] })] as const,
    );
    expect(() => opened(dictionary(...many), { 0: new Float32Array(10_000) })).toThrow(/tensors of over 64 times/);
  });

  test.each([2 ** 31, 2 ** 40])('a sparse file of %d bytes: what it claims is not allocated', (size) => {
    const path = join(scratch, 'sparse.bin');
    const write = (at: number, bytes: Buffer): void => {
      writeFileSync(path, '');
      truncateSync(path, at);
      appendFileSync(path, bytes);
    };
    try {
      write(size, zipEnd64(size, size));
    } catch {
      return; // The file system holds no such file, and so nobody can ship one.
    }
    expect(() => openPytorchFile(path)).toThrow(/a directory of \d+ bytes/);
    rmSync(path);
  });

  test.each(['state-dict.bin', 'before-1.6.bin'])(
    '%s: damage anywhere is a typed error, or reads within the file',
    (name) => {
      const bytes = readFileSync(join(golden, name));
      const next = randomNumbers(7);
      const path = join(scratch, 'damaged.bin');
      let refused = 0;
      for (let round = 0; round < 1000; round++) {
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
    },
  );
});
