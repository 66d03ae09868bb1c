// The WGSL of every storage format gives the numbers that its record decodes: random blocks, the scale among them subnormal.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Plan } from '../../compiler/plan.ts';
import { affine } from '../../dsl/storage/affine.ts';
import { decodeBlocks, type StorageFormat, type WgslBytes } from '../../dsl/storage/format.ts';
import { blockFormats } from '../../dsl/storage/index.ts';
import { storageFunctions } from '../../dsl/storage/wgsl.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { load } from '../../runtime/program/program.ts';
import { withoutGpu } from './compare.ts';

const blocks = 64;

const bytes: WgslBytes = {
  byte: (at) => `byte_at(${at})`,
  half: (at) => `half_at(${at})`,
  word: (at) => `(half_at(${at}) | (half_at((${at}) + 2u) << 16u))`,
};

/** A thread decodes four elements. */
function kernel(format: StorageFormat, quads: number): string {
  return `@group(0) @binding(0) var<storage, read> words: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
fn half_at(at: u32) -> u32 { return (words[at >> 2u] >> ((at & 2u) * 8u)) & 0xffffu; }
fn byte_at(at: u32) -> u32 { return (words[at >> 2u] >> ((at & 3u) * 8u)) & 0xffu; }
${storageFunctions}
fn decode(at: u32, e: u32) -> vec4f {
  ${format.wgsl(bytes)}
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= ${quads}u) { return; }
  let element = id.x * 4u;
  y[id.x] = decode(element / ${format.block}u * ${format.bytes}u, element % ${format.block}u);
}`;
}

function planOf(format: StorageFormat, words: number): Plan {
  const elements = blocks * format.block;
  const tensor = (name: string, dtype: 'u32' | 'f32', size: number, buffer: number) => ({
    name,
    dtype,
    axes: [{ name: 'i', size }],
    buffer,
    offset: 0,
  });
  return {
    version: 1,
    symbols: [],
    buffers: [
      { name: 'words', bytes: words * 4, role: 'parameter' },
      { name: 'y', bytes: elements * 4, role: 'output' },
    ],
    kernels: [{ name: 'decode', wgsl: kernel(format, elements / 4), access: ['read', 'read_write'], features: [] }],
    inputs: [],
    outputs: [tensor('y', 'f32', elements, 1)],
    parameters: [tensor('words', 'u32', words, 0)],
    states: [],
    load: [],
    dispatches: [
      {
        kernel: 0,
        bindings: [
          { buffer: 0, offset: 0, bytes: words * 4 },
          { buffer: 1, offset: 0, bytes: elements * 4 },
        ],
        grid: [Math.ceil(elements / 256), 1, 1],
        path: '',
        label: 'decode',
        flops: 0,
        bytes: 0,
      },
    ],
    memory: {
      parameters: words * 4,
      loaded: 0,
      states: 0,
      inputsAndOutputs: elements * 4,
      activations: 0,
      liveBound: 0,
    },
  };
}

/** Bytes from a seed; every other block begins with a subnormal scale. */
function randomBlocks(format: StorageFormat): Uint8Array {
  let state = 12_345;
  const all = new Uint8Array(Math.ceil((blocks * format.bytes + 4) / 4) * 4);
  for (let i = 0; i < blocks * format.bytes; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    all[i] = state >>> 24;
  }
  for (let b = 0; b < blocks; b += 2) all[b * format.bytes + 1] = (all[b * format.bytes + 1] ?? 0) & 0x83;
  return all;
}

describe.skipIf(withoutGpu)('WGSL of storage formats', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => device.close());

  const formats = [
    ...blockFormats,
    affine({ bits: 4, group: 32, scale: 'f16', offset: 'bias' }),
    affine({ bits: 8, group: 64, scale: 'bf16', offset: 'bias' }),
    affine({ bits: 4, group: 64, scale: 'f32', offset: 'zero' }),
  ];
  test.each(formats.map((format) => [format.name, format] as const))('%s', async (_name, format) => {
    const stored = randomBlocks(format);
    const words = new Uint32Array(stored.buffer);
    const program = await load(planOf(format, words.length), device, { read: () => words });
    try {
      const { y } = await program.run({});
      const wanted = decodeBlocks(format, stored.subarray(0, blocks * format.bytes));
      let compared = 0;
      wanted.forEach((value, i) => {
        // Infinite and subnormal results are the device's own business.
        if (!Number.isFinite(value) || (value !== 0 && Math.abs(value) < 2 ** -126) || Math.abs(value) > 1e37) return;
        expect(Math.fround(Number(y?.data[i])) === value, `element ${i}: ${y?.data[i]} instead of ${value}`).toBe(true);
        compared++;
      });
      expect(compared).toBeGreaterThan(wanted.length / 4);
    } finally {
      program.dispose();
    }
  });
});
