// Checkpoints: one file, shards with an index, directories; what does not belong together is refused before a value is read.
import { copyFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-checkpoint-'));
afterAll(() => rmSync(root, { recursive: true }));

let folders = 0;
function folder(): string {
  const path = join(root, String(folders++));
  mkdirSync(path);
  return path;
}

const [first, second] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const goodMap = { 'a.weight': first, 'a.bias': first, 'b.weight': second };
/** Bytes in both shards together: 4 f32, 2 f16 and 3 bf16. */
const totalSize = 16 + 4 + 6;

/** A sharded checkpoint of three tensors with this index. */
function sharded(index: unknown, raw?: string | Uint8Array): string {
  const path = folder();
  writeSafetensors(
    join(path, first),
    [
      { name: 'a.weight', dtype: 'F32', shape: [2, 2], values: [1, 2, 3, 4] },
      { name: 'a.bias', dtype: 'F16', shape: [2], values: [5, 6] },
    ],
    { format: 'pt' },
  );
  writeSafetensors(join(path, second), [{ name: 'b.weight', dtype: 'BF16', shape: [3], values: [7, 8, 9] }]);
  writeFileSync(join(path, 'model.safetensors.index.json'), raw ?? JSON.stringify(index));
  return path;
}

describe('good checkpoints', () => {
  test('shards are one source of parameters', () => {
    const checkpoint = openCheckpoint(sharded({ metadata: { total_size: totalSize }, weight_map: goodMap }), {
      dtype: 'f16',
    });
    expect(checkpoint.dtype).toBe('f16');
    expect([...(checkpoint.names() ?? [])].toSorted()).toEqual(['a.bias', 'a.weight', 'b.weight']);
    expect(checkpoint.shape('a.weight')).toEqual([2, 2]);
    expect(checkpoint.shape('nothing')).toBeUndefined();
    expect([...checkpoint.read('a.weight', [2, 2])]).toEqual([1, 2, 3, 4]);
    expect([...checkpoint.read('a.bias', [2])]).toEqual([5, 6]);
    expect([...checkpoint.read('b.weight', [3])]).toEqual([7, 8, 9]);
    const bytes = new Uint8Array(4);
    checkpoint.readInto('a.weight', bytes, 12);
    expect(new Float32Array(bytes.buffer)[0]).toBe(4);
    checkpoint.close();
  });

  test('the index need not say how large it is, and may be named itself', () => {
    const checkpoint = openCheckpoint(join(sharded({ weight_map: goodMap }), 'model.safetensors.index.json'));
    expect(checkpoint.shape('b.weight')).toEqual([3]);
    checkpoint.close();
  });

  test.each<[string, unknown]>([
    ['a name that no shard has', { weight_map: { ...goodMap, 'lm_head.weight': first } }],
    ['the other shard', { weight_map: { ...goodMap, 'a.bias': second } }],
    ['swapped shards', { weight_map: { 'a.weight': second, 'a.bias': second, 'b.weight': first } }],
    ['a tensor left out', { weight_map: { 'a.weight': first, 'b.weight': second } }],
    ['another total', { metadata: { total_size: totalSize + 1 }, weight_map: goodMap }],
    ['a total that is a text', { metadata: { total_size: '26' }, weight_map: goodMap }],
  ])('the shards say what they hold, whatever the index says: %s', (_name, index) => {
    const checkpoint = openCheckpoint(sharded(index));
    expect([...(checkpoint.names() ?? [])].toSorted()).toEqual(['a.bias', 'a.weight', 'b.weight']);
    expect([...checkpoint.read('a.bias', [2])]).toEqual([5, 6]);
    expect(() => checkpoint.read('lm_head.weight', [2])).toThrow(/lm_head\.weight/);
    checkpoint.close();
  });

  test('of two shards with one name the index decides, and where it does not, nothing is read', () => {
    const twice = (weightMap: unknown): string => {
      const path = sharded({ weight_map: weightMap });
      writeSafetensors(join(path, second), [
        { name: 'b.weight', dtype: 'F32', shape: [1], values: [7] },
        { name: 'a.bias', dtype: 'F32', shape: [2], values: [8, 9] },
      ]);
      return path;
    };
    for (const [shard, values] of [
      [first, [5, 6]],
      [second, [8, 9]],
    ] as const) {
      const checkpoint = openCheckpoint(twice({ ...goodMap, 'a.bias': shard }));
      expect([...checkpoint.read('a.bias', [2])]).toEqual(values);
      checkpoint.close();
    }
    expect(() => openCheckpoint(twice({ 'a.weight': first, 'b.weight': second }))).toThrow(
      /which of its shards 'a.bias'/,
    );
  });

  test('a directory with one file, its metadata, and a prefix', () => {
    const path = folder();
    copyFileSync(join(sharded({ weight_map: goodMap }), first), join(path, 'model.safetensors'));
    const checkpoint = openCheckpoint(path, { prefix: 'a.' });
    expect(checkpoint.metadata.get('format')).toBe('pt');
    expect([...(checkpoint.names() ?? [])]).toEqual(['weight', 'bias']);
    expect([...checkpoint.read('bias', [2])]).toEqual([5, 6]);
    expect(checkpoint.stored.has('a.bias')).toBe(true);
    checkpoint.close();
  });

  test('links into the blobs of a cache are followed, links elsewhere are not', () => {
    const cache = join(folder(), 'models--owner--name');
    const blobs = join(cache, 'blobs');
    const snapshot = join(cache, 'snapshots', 'abc'.padEnd(40, '0'));
    mkdirSync(blobs, { recursive: true });
    mkdirSync(snapshot, { recursive: true });
    const original = sharded({ weight_map: goodMap });
    for (const name of [first, second, 'model.safetensors.index.json']) {
      renameSync(join(original, name), join(blobs, `blob-of-${name}`));
      symlinkSync(join('..', '..', 'blobs', `blob-of-${name}`), join(snapshot, name));
    }
    openCheckpoint(snapshot).close();
    const outside = sharded({ weight_map: goodMap });
    rmSync(join(outside, second));
    symlinkSync(join(blobs, `blob-of-${second}`), join(outside, second));
    expect(() => openCheckpoint(outside)).toThrow(/leads out of its directory/);
  });
});

describe('refusals', () => {
  const at = (map: unknown) => ({ weight_map: map });
  const indexes: readonly (readonly [string, unknown])[] = [
    ['null', null],
    ['a number', 1],
    ['a list', []],
    ['empty', {}],
    ['weight_map null', at(null)],
    ['weight_map a list', at([first])],
    ['weight_map a text', at('x')],
    ['missing shard', at({ ...goodMap, 'b.weight': 'model-00003-of-00002.safetensors' })],
    ['a number for a shard', at({ ...goodMap, 'b.weight': 2 })],
    ['null for a shard', at({ ...goodMap, 'b.weight': null })],
    ['an object for a shard', at({ ...goodMap, 'b.weight': { file: second } })],
    ['a path', at({ ...goodMap, 'b.weight': `./${second}` })],
    ['a parent', at({ ...goodMap, 'b.weight': `../${second}` })],
    ['an absolute path', at({ ...goodMap, 'b.weight': `/etc/${second}` })],
    ['a backslash', at({ ...goodMap, 'b.weight': `..\\${second}` })],
    ['two points', at({ ...goodMap, 'b.weight': '..safetensors' })],
    ['points inside', at({ ...goodMap, 'b.weight': 'a..safetensors' })],
    ['another ending', at({ ...goodMap, 'b.weight': 'model.bin' })],
    ['an ending after a newline', at({ ...goodMap, 'b.weight': `${second}\n` })],
    ['empty name', at({ ...goodMap, 'b.weight': '' })],
    ['a zero byte', at({ ...goodMap, 'b.weight': `a\0.safetensors` })],
    ['a URL', at({ ...goodMap, 'b.weight': `https://x/${second}` })],
    ['a space', at({ ...goodMap, 'b.weight': 'a b.safetensors' })],
  ];
  const raw: readonly (readonly [string, string | Uint8Array])[] = [
    ['a key that stands twice', `{"weight_map":{"a.weight":"${first}","a.weight":"${second}"}}`],
    ['two maps', '{"weight_map":{},"weight_map":{}}'],
    ['cut off', '{"weight_map":{'],
    ['nothing', ''],
    ['bytes that are not UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d)],
    ['something after the end', `${JSON.stringify({ weight_map: goodMap })}x`],
    ['deep nesting', `{"a":${'['.repeat(1000)}`],
  ];

  test('there are at least 28 malformed indexes', () => expect(indexes.length + raw.length).toBeGreaterThanOrEqual(28));
  test.each(indexes)('index: %s', (_name, index) =>
    expect(() => openCheckpoint(sharded(index))).toThrow(OpabiniaError),
  );
  test.each(raw)('index: %s', (_name, text) =>
    expect(() => openCheckpoint(sharded(undefined, text))).toThrow(OpabiniaError),
  );

  test('a malformed shard', () => {
    const path = sharded({ weight_map: goodMap });
    writeFileSync(join(path, second), 'not a shard');
    expect(() => openCheckpoint(path)).toThrow(OpabiniaError);
  });

  test('nothing there', () => {
    expect(() => openCheckpoint(join(root, 'absent'))).toThrow(/does not exist/);
    const empty = folder();
    expect(() => openCheckpoint(empty)).toThrow(/holds none of model\.safetensors/);
    writeFileSync(join(empty, 'pytorch_model.bin'), 'PK');
    expect(() => openCheckpoint(empty)).toThrow(/not a whole zip archive/);
    expect(() => openCheckpoint(join(empty, 'pytorch_model.bin'))).toThrow(OpabiniaError);
  });

  test('another shape than stored, and a name that is nearly right', () => {
    const checkpoint = openCheckpoint(sharded({ weight_map: goodMap }));
    expect(() => checkpoint.read('a.weight', [4])).toThrow(/2×2[^]*4/);
    expect(() => checkpoint.read('a.wieght', [2, 2])).toThrow(/a\.weight/);
    expect(() => checkpoint.readInto('b.weight', new Uint8Array(7))).toThrow(OpabiniaError);
    checkpoint.close();
  });
});
