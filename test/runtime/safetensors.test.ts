// The safetensors reader: what is stored comes back exactly, and nothing malformed gets past the header.
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import {
  openSafetensors,
  SafetensorsError,
  storedBytes,
  type StoredDType,
} from '../../runtime/checkpoint/safetensors.ts';
import { encodeSafetensors, writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import { encodeStored } from '../../runtime/checkpoint/stored-values.ts';
import { decodeAsF32, decodeStored } from '../../runtime/checkpoint/stored-values.ts';
import { goodHeader, malformedFiles, rawFile } from './malformed-headers.ts';

const directory = mkdtempSync(join(tmpdir(), 'opabinia-safetensors-'));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function saved(bytes: Uint8Array): string {
  const path = join(directory, `${files++}.safetensors`);
  writeFileSync(path, bytes);
  return path;
}

function bytesOf(path: string, name: string): { readonly dtype: StoredDType; readonly bytes: Uint8Array } {
  const file = openSafetensors(path);
  try {
    const tensor = file.tensors.get(name);
    if (tensor === undefined) throw new Error(`no ${name}`);
    const bytes = new Uint8Array(tensor.bytes);
    file.readInto(name, bytes);
    return { dtype: tensor.dtype, bytes };
  } finally {
    file.close();
  }
}

function refusalOf(path: string): unknown {
  try {
    openSafetensors(path).close();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('good files', () => {
  test('every dtype comes back', () => {
    const path = saved(
      encodeSafetensors(
        [
          { name: 'f64', dtype: 'F64', shape: [2], values: [Math.PI, -1e300] },
          { name: 'f32', dtype: 'F32', shape: [1, 2], values: [1.5, -0] },
          { name: 'f16', dtype: 'F16', shape: [3], values: [65504, 2 ** -24, 1 / 3] },
          { name: 'bf16', dtype: 'BF16', shape: [4], values: [1, 3.140625, 1 + 2 ** -8, 1 + 3 * 2 ** -8] },
          { name: 'i64', dtype: 'I64', shape: [1], values: [-(2 ** 52)] },
          { name: 'i32', dtype: 'I32', shape: [2], values: [-2147483648, 2147483647] },
          { name: 'u8', dtype: 'U8', shape: [3], values: [0, 128, 255] },
          { name: 'bool', dtype: 'BOOL', shape: [], values: [1] },
          { name: 'none', dtype: 'F32', shape: [0, 5], values: [] },
        ],
        { kind: 'test' },
      ),
    );
    const read = (name: string) =>
      Array.from<number | bigint>(
        decodeStored(bytesOf(path, name).dtype, bytesOf(path, name).bytes) as Iterable<number>,
      );
    expect(read('f64')).toEqual([Math.PI, -1e300]);
    expect(read('f32')).toEqual([1.5, -0]);
    expect(read('f16')).toEqual([65504, 2 ** -24, Math.f16round(1 / 3)]);
    // The last two lie half way between neighbours: ties go to the even one.
    expect(read('bf16')).toEqual([1, 3.140625, 1, 1 + 2 ** -6]);
    expect(read('i64')).toEqual([-4503599627370496n]);
    expect(read('i32')).toEqual([-2147483648, 2147483647]);
    expect(read('u8')).toEqual([0, 128, 255]);
    expect(read('bool')).toEqual([1]);
    expect(read('none')).toEqual([]);
  });

  test('bytes written by hand decode as IEEE says', () => {
    expect([...decodeAsF32('F16', Uint8Array.of(0x00, 0x3c, 0x00, 0xc0, 0x00, 0x7c, 0x01, 0x00))]).toEqual([
      1,
      -2,
      Infinity,
      2 ** -24,
    ]);
    expect([...decodeAsF32('BF16', Uint8Array.of(0x80, 0x3f, 0x49, 0x40, 0x80, 0xff))]).toEqual([
      1,
      3.140625,
      -Infinity,
    ]);
    expect([...decodeAsF32('I64', Uint8Array.of(0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))]).toEqual([-2]);
    expect([...decodeAsF32('BOOL', Uint8Array.of(0, 1, 2))]).toEqual([0, 1, 1]);
    expect(decodeAsF32('BF16', Uint8Array.of(0xc0, 0x7f))[0]).toBeNaN();
  });

  test('names that mean something in JavaScript are only names', () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '', '0', 'ü ☃', 'a"b\\c\n'];
    const path = saved(
      encodeSafetensors(
        names.map((name, i) => ({ name, dtype: 'F32', shape: [1], values: [i] })),
        Object.fromEntries([['constructor', 'x']]),
      ),
    );
    const file = openSafetensors(path);
    expect([...file.tensors.keys()]).toEqual(names);
    expect(file.metadata.get('constructor')).toBe('x');
    expect(file.metadata.get('toString')).toBeUndefined();
    file.close();
    names.forEach((name, i) => expect([...decodeAsF32('F32', bytesOf(path, name).bytes)]).toEqual([i]));
  });

  test('the file that the malformed ones are mutations of is good, with spaces after the header too', () => {
    for (const header of [goodHeader, `${goodHeader}     `, goodHeader.replace('[1,2]', '[ 1 ,\n2 ]')]) {
      const file = openSafetensors(saved(rawFile(header, 16)));
      expect([...file.tensors.keys()]).toEqual(['a', 'b']);
      file.close();
    }
  });

  test('the order in the header need not be that of the data', () => {
    const header =
      '{"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]},"e":{"dtype":"U8","shape":[0],"data_offsets":[3,3]},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}';
    const bytes = rawFile(header, 5);
    bytes.set([1, 2, 3, 4, 5], bytes.length - 5);
    expect([...bytesOf(saved(bytes), 'b').bytes]).toEqual([4, 5]);
  });

  test('ranges of a tensor', () => {
    const path = saved(
      encodeSafetensors([
        { name: 'x', dtype: 'U8', shape: [3], values: [7, 8, 9] },
        { name: 'y', dtype: 'U8', shape: [5], values: [1, 2, 3, 4, 5] },
      ]),
    );
    const file = openSafetensors(path);
    const part = new Uint8Array(2);
    file.readInto('y', part, 3);
    expect([...part]).toEqual([4, 5]);
    expect(() => file.readInto('y', part, 4)).toThrow(SafetensorsError);
    expect(() => file.readInto('y', part, -1)).toThrow(SafetensorsError);
    expect(() => file.readInto('z', part)).toThrow(/no tensor 'z'/);
    file.close();
  });

  test('whatever is written comes back', () => {
    const dtypes = Object.keys(storedBytes) as StoredDType[];
    const tensor = fc.record({
      name: fc.string({ unit: 'binary' }).filter((name) => name !== '__metadata__' && name.isWellFormed()),
      dtype: fc.constantFrom(...dtypes),
      shape: fc.array(fc.nat(4), { maxLength: 4 }),
      seed: fc.nat(100),
    });
    fc.assert(
      fc.property(fc.uniqueArray(tensor, { selector: (t) => t.name, maxLength: 6 }), (list) => {
        const tensors = list.map(({ name, dtype, shape, seed }) => ({
          name,
          dtype,
          shape,
          values: Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
            dtype === 'BOOL' ? (seed + i) % 2 : (seed + i) % 101,
          ),
        }));
        const path = saved(encodeSafetensors(tensors));
        for (const { name, dtype, shape, values } of tensors) {
          const file = openSafetensors(path);
          expect(file.tensors.get(name)?.shape).toEqual(shape);
          file.close();
          expect([...decodeAsF32(dtype, bytesOf(path, name).bytes)]).toEqual(values);
        }
      }),
      { numRuns: 100 },
    );
  }, 60_000);
});

describe('malformed files', () => {
  test('there are at least 150, all different', () => {
    expect(malformedFiles.length).toBeGreaterThanOrEqual(150);
    expect(new Set(malformedFiles.map((file) => file.name)).size).toBe(malformedFiles.length);
    expect(
      new Set(malformedFiles.map((file) => Buffer.from(file.bytes).toString('base64'))).size,
    ).toBeGreaterThanOrEqual(150);
  });

  test.each(malformedFiles.map((file) => [file.name, file.bytes] as const))('%s is refused', (_name, bytes) => {
    const path = saved(bytes);
    // Time of this process, not of the clock: other programs may be running.
    const started = process.cpuUsage();
    const error = refusalOf(path);
    const { user, system } = process.cpuUsage(started);
    expect(error).toBeInstanceOf(SafetensorsError);
    expect((error as OpabiniaError).message.length).toBeLessThan(1000);
    expect((user + system) / 1e6).toBeLessThan(1);
  });

  test('more tensors than the limit are refused', () => {
    const entries = Array.from({ length: 200_001 }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`);
    expect(refusalOf(saved(rawFile(`{${entries.join(',')}}`, 0)))).toBeInstanceOf(SafetensorsError);
  }, 60_000);

  test('a header over 25 MB needs a higher limit, and 100 MB is the end', () => {
    const padded = `${goodHeader}${' '.repeat(25_000_001)}`;
    const path = saved(rawFile(padded, 16));
    expect(() => openSafetensors(path)).toThrow(/at most 25000000/);
    const file = openSafetensors(path, { headerLimit: 30_000_000 });
    expect(file.tensors.size).toBe(2);
    file.close();
    expect(() => openSafetensors(saved(rawFile(goodHeader, 16, 100_000_001n)), { headerLimit: 1e9 })).toThrow(
      /at most 100000000/,
    );
  }, 60_000);

  test('no mutation of a good file does anything but open or be refused', () => {
    const good = encodeSafetensors(
      [
        { name: 'w.0', dtype: 'F32', shape: [2, 2], values: [1, 2, 3, 4] },
        { name: 'b', dtype: 'F16', shape: [2], values: [5, 6] },
      ],
      { kind: 'x' },
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        fc.nat(good.length),
        (changes, size) => {
          const bytes = Uint8Array.from(good);
          for (const [at, value] of changes) bytes[at] = value;
          for (const candidate of [bytes, bytes.subarray(0, size)]) {
            const error = refusalOf(saved(candidate));
            if (error !== undefined) expect(error).toBeInstanceOf(SafetensorsError);
          }
        },
      ),
      { numRuns: 300 },
    );
  }, 60_000);

  test('paths that are not files', () => {
    expect(() => openSafetensors(join(directory, 'absent'))).toThrow(SafetensorsError);
    expect(() => openSafetensors(directory)).toThrow(SafetensorsError);
  });

  test('a file that shrinks after it was opened is noticed', () => {
    const path = saved(encodeSafetensors([{ name: 'x', dtype: 'F32', shape: [100], values: new Float32Array(100) }]));
    const file = openSafetensors(path);
    const writer = openSync(path, 'r+');
    ftruncateSync(writer, 200);
    closeSync(writer);
    expect(() => file.readInto('x', new Uint8Array(400))).toThrow(/changed while it was open/);
    file.close();
  });

  test('the writer refuses what the reader would', () => {
    expect(() => encodeSafetensors([{ name: 'x', dtype: 'F32', shape: [2], values: [1] }])).toThrow(OpabiniaError);
    expect(() =>
      encodeSafetensors([
        { name: 'x', dtype: 'F32', shape: [1], values: [1] },
        { name: 'x', dtype: 'F32', shape: [1], values: [1] },
      ]),
    ).toThrow(OpabiniaError);
    const path = join(directory, 'written.safetensors');
    writeSafetensors(path, [{ name: 'x', dtype: 'F32', shape: [1], values: [1] }]);
    expect([...bytesOf(path, 'x').bytes]).toEqual([0, 0, 0x80, 0x3f]);
  });

  test('what is in its stored form already is written as it lies, however long it is', () => {
    const values = new Float16Array(2 ** 27 + 1);
    const bytes = encodeStored('F16', values);
    expect([bytes.byteLength, bytes.buffer === values.buffer]).toEqual([2 * values.length, true]);
    const part = new Float32Array([1, 2, 3, 4]).subarray(1, 3);
    expect(new Float32Array(encodeStored('F32', part).slice().buffer)).toEqual(Float32Array.of(2, 3));
    expect([...encodeStored('BOOL', [0, 2, 0.5])]).toEqual([0, 1, 1]);
    expect([...encodeStored('I64', [-1])]).toEqual(new Array(8).fill(255));
  });
});
