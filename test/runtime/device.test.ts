// Devices fail in typed ways: lost, out of memory, over a limit, refused, hung. Never a crash, never a hang.
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Plan } from '../../compiler/plan.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { adapterFacts, deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import {
  DeviceLostError,
  NoAdapterError,
  OutOfMemoryError,
  OverLimitError,
  ValidationError,
} from '../../runtime/device/failure.ts';
import { GpuDevice } from '../../runtime/device/gpu-device.ts';
import { load } from '../../runtime/program/program.ts';
import { inChild } from './child.ts';
import { buffer, dispatch, kernel, plan, tensor, totalPlan, values } from './plans.ts';

const gpu = describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1');

/** A plan of one kernel that writes y, with the kernel's text and sizes to try. */
function onePlan(
  wgsl: string,
  parts: {
    readonly bytes?: number;
    readonly grid?: number;
    readonly features?: Plan['kernels'][number]['features'];
  } = {},
): Plan {
  const bytes = parts.bytes ?? 16;
  return plan({
    buffers: [buffer('y', bytes, 'output')],
    kernels: [kernel('one', ['read_write'], wgsl, parts.features)],
    outputs: [tensor('y', 0, { n: 4 })],
    dispatches: [dispatch(0, [[0, bytes]], [parts.grid ?? 1, 1, 1], 'model.block')],
  });
}

const fill =
  '@group(0) @binding(0) var<storage, read_write> y: array<f32>; @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { y[i] = 1.0; }';

gpu('device facts', () => {
  test('features that kernels use, and the profile made of them', async () => {
    const device = await openDevice();
    const offered = (await adapterFacts())?.features ?? [];
    for (const feature of ['shader-f16', 'subgroups', 'timestamp-query'])
      expect(device.facts.features.includes(feature)).toBe(offered.includes(feature));
    const profile = deviceProfile(device);
    expect(profile.maxBindingBytes).toBeGreaterThanOrEqual(128 * 2 ** 20);
    expect(profile.software).toBe(device.facts.software);
    if (device.facts.name === 'lavapipe')
      expect(profile).toMatchObject({
        software: true,
        subgroupSize: 8,
        f16: true,
        maxWorkgroupBytes: 32768,
        maxWorkgroupThreads: 1024,
      });
    device.close();
  });
});

gpu('lost', () => {
  test('closed in mid-run', async () => {
    const device = await openDevice();
    const program = await load(totalPlan(), device, values({}));
    const run = program.run({ x: [1, 1, 1, 1] });
    device.close();
    device.close();
    await expect(run).rejects.toThrow(DeviceLostError);
    await expect(program.run({ x: [1, 1, 1, 1] })).rejects.toThrow(DeviceLostError);
    await expect(load(totalPlan(), device, values({}))).rejects.toThrow(DeviceLostError);
    program.dispose();
    expect([device.memory.now, device.state]).toEqual([0, 'lost']);
  });

  test('taken away by the driver, at any of 20 moments', async () => {
    for (let moment = 0; moment < 20; moment++) {
      const device = await openDevice();
      if (!(device instanceof GpuDevice)) throw new Error('Dawn devices are GpuDevices');
      const lose = new Promise<void>((resolve) =>
        setTimeout(() => {
          device.gpu.destroy();
          resolve();
        }, moment),
      );
      await expect(
        (async () => {
          const program = await load(totalPlan(), device, values({}));
          for (;;) await program.run({ x: [1, 1, 1, 1] });
        })(),
      ).rejects.toThrow(DeviceLostError);
      await lose;
      expect(device.state).toBe('lost');
    }
  });
});

gpu('out of memory', () => {
  test('the budget is checked before anything is allocated', async () => {
    const device = await openDevice({ budget: 1000 });
    const big = plan({
      ...onePlan(fill, { bytes: 2048 }),
      symbols: [{ name: 'n', least: 1, bound: 512 }],
      parameters: [],
    });
    const failure = await load(big, device, values({})).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(OutOfMemoryError);
    expect(String(failure)).toMatch(
      /2\.02 KiB of buffers are asked for, and the budget is 1000 B[^]*2 KiB {2}y[^]*try .*symbol 'n' \(now 512\)/,
    );
    expect(device.created.buffers).toBe(0);
    const small = await load(onePlan(fill), device, values({}));
    expect(device.memory.now).toBe(32);
    small.dispose();
    expect(device.memory.now).toBe(0);
    device.close();
  });

  test('the driver refuses the k-th buffer: all are given back', async () => {
    for (const failing of [0, 1, 3]) {
      const real = await openDevice();
      if (!(real instanceof GpuDevice)) throw new Error('Dawn devices are GpuDevices');
      let count = 0;
      let scopes = 0;
      let refused = false;
      class GPUOutOfMemoryError extends Error {}
      // As a driver without memory: the call returns an object, the scope tells.
      const scarce = new Proxy(real.gpu, {
        get(target, key) {
          if (key === 'createBuffer')
            return (descriptor: GPUBufferDescriptor) => {
              refused ||= count++ === failing;
              return target.createBuffer(descriptor);
            };
          if (key === 'popErrorScope')
            return async () => {
              const error = await target.popErrorScope();
              return scopes++ % 3 === 1 && refused ? new GPUOutOfMemoryError('no memory left') : error;
            };
          const member: unknown = Reflect.get(target, key, target);
          return typeof member === 'function' ? member.bind(target) : member;
        },
      });
      const device = new GpuDevice(scarce, real.facts, Number.POSITIVE_INFINITY);
      await expect(load(totalPlan(), device, values({}))).rejects.toThrow(OutOfMemoryError);
      expect([device.memory.now, device.state]).toEqual([0, 'ready']);
      real.close();
    }
  });
});

gpu('over a limit', () => {
  test.each<[string, Plan, RegExp]>([
    ['buffer', onePlan(fill, { bytes: 2 ** 33 }), /buffer 'y' takes 8 GiB/],
    ['binding', onePlan(fill, { bytes: 2 ** 31 + 4 }), /binds 2\.00 GiB of 'y'/],
    ['grid', onePlan(fill, { grid: 65536 }), /needs 65536 workgroups .*allows 65535/],
    ['workgroup', onePlan(fill.replace('(4)', '(2048)')), /'one' does not compile[^]*exceeds the maximum/],
    [
      'workgroup memory',
      onePlan(`var<workgroup> s: array<f32, 10000>; ${fill.replace('y[i] = 1.0', 's[i] = 1.0; y[i] = s[3u - i]')}`),
      /'one' does not compile/,
    ],
    ['feature', onePlan(fill, { features: ['shader-f16'] }), /needs the feature shader-f16/],
  ])('%s', async (name, made, message) => {
    // lavapipe binds at most 128 MiB; faked here, so that the test means the same on a GPU
    const device = await openDevice({
      limits: {
        maxBufferSize: name === 'buffer' ? 2 ** 32 - 1 : 2 ** 33,
        maxStorageBufferBindingSize: 2 ** 27,
        maxComputeWorkgroupsPerDimension: 65535,
      },
      without: ['shader-f16'],
    });
    const failure = await load(made, device, values({})).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(OverLimitError);
    expect(String(failure)).toMatch(message);
    expect([device.memory.now, device.memory.peak > 1024, device.state]).toEqual([0, false, 'ready']);
    device.close();
  });
});

gpu('refused', () => {
  test.each<[string, Plan, RegExp]>([
    [
      'bad WGSL, with its line',
      onePlan(fill.replace('y[i] = 1.0', '\n  let z = ;')),
      /'one' does not compile[^]*2:\d+ error: missing initializer/,
    ],
    ['no entry point', onePlan('const a = 1;'), /'one' does not compile/],
    [
      'a binding beyond its buffer',
      { ...onePlan(fill), dispatches: [dispatch(0, [[0, 64]], [1, 1, 1])] },
      /binds bytes 0 to 64 of 'y', which has 16/,
    ],
    [
      'read and written at once',
      {
        ...onePlan(
          '@group(0) @binding(0) var<storage, read> x: array<f32>; @group(0) @binding(1) var<storage, read_write> y: array<f32>; @compute @workgroup_size(1) fn main() { y[0] = x[0]; }',
        ),
        kernels: [
          kernel(
            'both',
            ['read', 'read_write'],
            '@group(0) @binding(0) var<storage, read> x: array<f32>; @group(0) @binding(1) var<storage, read_write> y: array<f32>; @compute @workgroup_size(1) fn main() { y[0] = x[0]; }',
          ),
        ],
        dispatches: [
          dispatch(
            0,
            [
              [0, 16],
              [0, 16],
            ],
            [1, 1, 1],
          ),
        ],
      },
      /usage/,
    ],
  ])('%s', async (_name, made, message) => {
    const device = await openDevice();
    const attempt = async (): Promise<void> => {
      const program = await load(made, device, values({}));
      try {
        await program.run({});
      } finally {
        program.dispose();
      }
    };
    const failure = await attempt().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ValidationError);
    expect(String(failure)).toMatch(message);
    // the device is none the worse for it
    const sound = await load(onePlan(fill), device, values({}));
    expect([...((await sound.run({}))['y']?.data ?? [])]).toEqual([1, 1, 1, 1]);
    sound.dispose();
    expect(device.memory.now).toBe(0);
    device.close();
  });

  test('writes beyond a buffer, and to a freed one', async () => {
    const device = await openDevice();
    const [made] = await device.allocate([{ label: 'b', bytes: 8, use: 'storage' }]);
    if (made === undefined) throw new Error('one buffer was asked for');
    expect(() => device.write(made, 4, new Uint8Array(8))).toThrow(/do not fit buffer 'b' of 8 bytes/);
    device.free([made]);
    expect(() => device.write(made, 0, new Uint8Array(8))).toThrow(/'b' was freed/);
    device.close();
  });
});

gpu('in a child process', () => {
  test('an endless kernel: the run is refused at its deadline, and the process still ends', async () => {
    const endless = onePlan(
      '@group(0) @binding(0) var<storage, read_write> y: array<f32>; @compute @workgroup_size(1) fn main() { loop { if (y[0] == 7.0) { break; } y[1] = y[1] + 1.0; } }',
    );
    const ended = await inChild(
      `
      import { openDevice } from '../../runtime/device/dawn.ts';
      import { load } from '../../runtime/program/program.ts';
      const device = await openDevice();
      const program = await load(${JSON.stringify(endless)}, device, { read: () => new Float32Array(0) }, { deadline: 1000 });
      const failure = await program.run({}).catch((error) => error);
      console.log(failure.name, failure.kind, device.state);
      const again = await program.run({}).catch((error) => error);
      console.log('again', again.kind);
      device.close();
      process.exit(3);`,
      { deadline: 40_000 },
    );
    expect(ended.said).toMatch(/HungError hung hung\nagain hung/);
    expect(ended).toMatchObject({ code: 3, killed: false });
  });

  test('an endless kernel without a deadline: the parent kills the child, nobody else is harmed', async () => {
    const ended = await inChild(
      `
      import { openDevice } from '../../runtime/device/dawn.ts';
      import { load } from '../../runtime/program/program.ts';
      const device = await openDevice();
      const endless = ${JSON.stringify(onePlan('@group(0) @binding(0) var<storage, read_write> y: array<f32>; @compute @workgroup_size(1) fn main() { loop { if (y[0] == 7.0) { break; } y[1] = y[1] + 1.0; } }'))};
      const program = await load(endless, device, { read: () => new Float32Array(0) }, { deadline: Infinity });
      console.log('started');
      await program.run({});`,
      { deadline: 40_000, after: { text: 'started', grace: 1500 } },
    );
    expect(ended.said).toContain('started');
    expect(ended).toMatchObject({ signal: 'SIGKILL', killed: true });
    const device = await openDevice();
    const sound = await load(onePlan(fill), device, values({}));
    expect([...((await sound.run({}))['y']?.data ?? [])]).toEqual([1, 1, 1, 1]);
    sound.dispose();
    device.close();
  });

  test.skipIf(process.platform === 'win32')(
    "while a file is read too, nothing of Dawn's own limits is said, and the file and stderr are whole",
    () => {
      const said = join(mkdtempSync(join(tmpdir(), 'opabinia-stderr-')), 'said.txt');
      const script = `
      import { readFile } from 'node:fs/promises';
      import { openDevice } from './runtime/device/dawn.ts';
      const reading = readFile('package.json', 'utf8');
      const device = await openDevice();
      device.close();
      console.error(JSON.parse(await reading).name);`;
      // A file, as a terminal: what a process cannot open again, such as a pipe of Node's, cannot be silenced.
      const out = openSync(said, 'w');
      const { status } = spawnSync(process.execPath, ['--input-type=module-typescript', '--eval', script], {
        cwd: join(import.meta.dirname, '../..'),
        stdio: ['ignore', 'ignore', out],
        timeout: 40_000,
      });
      closeSync(out);
      expect([status, readFileSync(said, 'utf8')]).toEqual([0, 'opabinia\n']);
      rmSync(dirname(said), { recursive: true });
    },
  );

  test('a Float16Array and a DataView can be written: Dawn itself dies of the one and refuses the other', async () => {
    const ended = await inChild(
      `
      import { openDevice } from '../../runtime/device/dawn.ts';
      const device = await openDevice();
      const [from, through] = await device.allocate([{ label: 'a', bytes: 12, use: 'storage' }, { label: 'b', bytes: 12, use: 'readback' }]);
      device.write(from, 0, Float16Array.of(1, 2, 3));
      device.write(from, 8, new DataView(Float16Array.of(9, 4, 5).buffer, 2));
      const [bytes] = await device.run([], [{ from, offset: 0, bytes: 12, through }], 5000);
      console.log(new Float16Array(bytes).join());`,
      { deadline: 40_000 },
    );
    expect(ended.said).toContain('1,2,3,0,4,5');
    expect(ended).toMatchObject({ code: 0, killed: false });
  });

  test('create() is held: 2,000 steps with garbage collections and only the program in scope', async () => {
    const ended = await inChild(
      `
      import { openDevice } from '../../runtime/device/dawn.ts';
      import { load } from '../../runtime/program/program.ts';
      const program = await load(${JSON.stringify(totalPlan())}, await openDevice(), { read: () => new Float32Array(0) });
      for (let i = 0; i < 2000; i++) {
        await program.run({ x: [1, 1, 1, 1] });
        if (i % 100 === 0) globalThis.gc();
      }
      console.log((await program.run({ x: [1, 1, 1, 1] })).y.data[0]);`,
      { deadline: 50_000, nodeFlags: ['--expose-gc'] },
    );
    expect(ended.said).toContain('2001');
    expect(ended).toMatchObject({ code: 0, killed: false });
  });
});

test('a backend that the system has not is said to be that: not that there is no GPU', async () => {
  const others = [
    ['metal', 'darwin', 'macOS'],
    ['d3d12', 'win32', 'Windows'],
  ] as const;
  for (const [backend, platform, system] of others) {
    if (process.platform === platform) continue;
    const error = await openDevice({ backend }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NoAdapterError);
    expect(error).toMatchObject({
      what: `the backend '${backend}' is there on ${system} only, and this is ${process.platform}`,
      advice: expect.stringContaining('leave `backend` out'),
    });
  }
});

test('backend=null compiles and warns without a GPU', async () => {
  const device = await openDevice({ backend: 'null' });
  expect(await device.diagnose(kernel('fill', ['read_write'], fill))).toEqual([]);
  expect(await device.diagnose(kernel('bad', ['read_write'], 'fn main() { let z = ; }'))).toEqual([
    expect.stringMatching(/^1:21 error: missing initializer/),
  ]);
  expect(
    await device.diagnose(kernel('warned', ['read_write'], fill.replace('y[i] = 1.0;', 'return; y[i] = 1.0;'))),
  ).toEqual([expect.stringMatching(/warning: code is unreachable/)]);
  expect(await device.diagnose(kernel('wide', ['read_write'], fill.replace('(4)', '(100000)')))).toEqual([
    expect.stringMatching(/does not compile/),
  ]);
  device.close();
});

test.each([
  [{ backend: 'cuda' as never }, /no backend 'cuda'[^]*vulkan/],
  [{ budget: NaN }, /budget is NaN/],
  [{ budget: -1 }, /budget is -1/],
  [{ limits: { maxBufferSize: -5 } }, /maxBufferSize is -5/],
  [{ limits: { maxBuffersize: 5 } as never }, /no limit 'maxBuffersize'[^]*maxBufferSize/],
])('an option that is none is refused before a driver is asked: %j', async (options, message) => {
  const error = await openDevice(options).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OpabiniaError);
  expect(String(error)).toMatch(message);
});
