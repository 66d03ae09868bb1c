// Programs: inputs checked, symbols found, states kept, nothing created in steady state, every byte given back.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Plan } from '../../compiler/plan.ts';
import type { Device } from '../../runtime/device/device.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import { profileTable } from '../../runtime/device/kernel-times.ts';
import { load, type Program } from '../../runtime/program/program.ts';
import { buffer, dispatch, kernel, plan, scalePlan, tensor, totalPlan, values } from './plans.ts';

const scale = Array.from({ length: 64 }, (_, i) => i + 1);

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('program', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => {
    expect(device.memory.now).toBe(0);
    device.close();
  });

  async function using<T>(
    made: Plan,
    table: Readonly<Record<string, readonly number[]>>,
    use: (program: Program) => Promise<T>,
  ): Promise<T> {
    const program = await load(made, device, values(table));
    try {
      return await use(program);
    } finally {
      program.dispose();
    }
  }

  test('runs load-time work once and the rest every time', async () => {
    await using(scalePlan(), { scale }, async (program) => {
      const { y } = await program.run({ x: [1, 1, 1, 10] }, { symbols: { n: 4 } });
      expect([...(y?.data ?? [])]).toEqual([2, 4, 6, 80]);
      expect(y?.axes).toEqual([{ name: 'n', size: 4 }]);
      expect(y?.data).toBeInstanceOf(Float32Array);
    });
  });

  test('what is no record of inputs, or no list of outputs, is refused; an output that is named twice is read once', async () => {
    await using(scalePlan(), { scale }, async (program) => {
      const x = [1, 1, 1, 10];
      for (const given of [undefined, null, 3])
        // oxlint-disable-next-line no-await-in-loop
        await expect(program.run(given as never)).rejects.toThrow(/takes its inputs by name[^]*give \{ x: … \}/);
      await expect(program.run({ x }, { outputs: 'y' as never })).rejects.toThrow(/list of names, and got string/);
      const twice = await program.run({ x }, { outputs: ['y', 'y'], symbols: { n: 4 } });
      expect([...(twice['y']?.data ?? [])]).toEqual([2, 4, 6, 80]);
    });
  });

  test('the symbol comes from symbols, from sizes, or from the number of elements', async () => {
    await using(scalePlan(), { scale }, async (program) => {
      const ones = new Float32Array(13).fill(1);
      const expected = scale.slice(0, 13).map((s) => 2 * s);
      expect([...((await program.run({ x: ones }))['y']?.data ?? [])]).toEqual(expected);
      expect([...((await program.run({ x: { data: ones, sizes: { n: 13 } } }))['y']?.data ?? [])]).toEqual(expected);
      expect([...((await program.run({ x: new Float32Array(64).fill(0.5) }))['y']?.data ?? [])]).toEqual(scale);
    });
  });

  test.each<[string, Parameters<Program['run']>, RegExp]>([
    ['over its bound', [{ x: new Float32Array(65) }], /symbol 'n' is 65 .*over its bound 64/],
    ['under its least', [{ x: new Float32Array(0) }], /symbol 'n' is 0 .*under its least value 1/],
    ['given over its bound', [{ x: [1] }, { symbols: { n: 100 } }], /symbol 'n' is 100 \(given\), over its bound 64/],
    ['no integer', [{ x: [1] }, { symbols: { n: 1.5 } }], /'n' is 1\.5/],
    ['unknown symbol', [{ x: [1] }, { symbols: { m: 1 } }], /no symbol 'm'[^]*try one of n/],
    [
      'another size than the symbol',
      [{ x: { data: [1, 2], sizes: { n: 2 } } }, { symbols: { n: 3 } }],
      /given with n:2, and n is 3/,
    ],
    ['unknown axis', [{ x: { data: [1], sizes: { k: 1 } } }], /no axis 'k'/],
    ['wrong count', [{ x: [1, 2] }, { symbols: { n: 3 } }], /'x' \[n:3\] takes 3 elements, got 2/],
    ['misspelt input', [{ xx: [1] }], /input 'x' \[n:n\] f32 is not given[^]*'xx'/],
    ['input too many', [{ x: [1], extra: [1] }], /no input 'extra'[^]*'x'/],
    ['no input', [{}], /input 'x' .*is not given/],
    ['dtype', [{ x: new Int32Array(1) }], /takes Float32Array .*got Int32Array/],
    ['data view', [{ x: new DataView(new ArrayBuffer(4)) as unknown as Float32Array }], /got DataView/],
    ['unknown output', [{ x: [1] }, { outputs: ['z'] }], /no output 'z'[^]*'y'/],
  ])('refuses before writing: %s', async (_name, call, message) => {
    await using(scalePlan(), { scale }, async (program) => {
      await program.run({ x: [1, 1] });
      await expect(program.run(...call)).rejects.toThrow(message);
      expect([...((await program.run({ x: [3] }))['y']?.data ?? [])]).toEqual([6]);
    });
  });

  test('states live between runs, reset sets them to zero', async () => {
    await using(totalPlan(), {}, async (program) => {
      await program.run({ x: [1, 2, 3, 4] });
      const { y } = await program.run({ x: [10, 10, 10, 10] });
      expect([...(y?.data ?? [])]).toEqual([11, 12, 13, 14]);
      expect([...(await program.readState('total')).data]).toEqual([11, 12, 13, 14]);
      await program.reset();
      expect([...((await program.run({ x: [1, 1, 1, 1] }))['y']?.data ?? [])]).toEqual([1, 1, 1, 1]);
    });
  });

  test('runs called at once are taken in order, each with the inputs it was called with', async () => {
    await using(totalPlan(), {}, async (program) => {
      const x = new Float32Array(4);
      const runs = [1, 2, 3, 4].map(async (step) => {
        x.fill(step);
        return program.run({ x });
      });
      const totals = (await Promise.all(runs)).map(({ y }) => y?.data[0]);
      // The first run reads its array when it is called, and so does each that waits behind it.
      expect(totals).toEqual([1, 3, 6, 10]);
    });
  });

  test('2,000 runs create nothing and leave the memory as it was', async () => {
    await using(totalPlan(), {}, async (program) => {
      await program.run({ x: [1, 1, 1, 1] });
      const created = device.created;
      const { now, peak } = device.memory;
      const x = new Float32Array(4).fill(1);
      for (let i = 0; i < 2000; i++) await program.run({ x });
      expect(device.created).toEqual(created);
      expect([device.memory.now, device.memory.peak]).toEqual([now, peak]);
      expect([...((await program.run({ x }))['y']?.data ?? [])]).toEqual([2002, 2002, 2002, 2002]);
    });
  });

  test('what runs gave is not held', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    await using(totalPlan(), {}, async (program) => {
      const given: WeakRef<object>[] = [];
      for (let i = 0; i < 40; i++) {
        const { y } = await program.run({ x: new Float32Array(4) });
        if (y !== undefined) given.push(new WeakRef(y));
      }
      await new Promise(setImmediate);
      collect();
      expect(given).toHaveLength(40);
      expect(given.filter((y) => y.deref() !== undefined).length).toBeLessThanOrEqual(2);
    });
  });

  test('parameters and results of every dtype, odd counts too', async () => {
    const copy = (type: string, enable = '') => `${enable}
      @group(0) @binding(0) var<storage, read> a: array<${type}>;
      @group(0) @binding(1) var<storage, read_write> b: array<${type}>;
      @compute @workgroup_size(8) fn main(@builtin(local_invocation_index) i: u32) { if (i < arrayLength(&a)) { b[i] = a[i]; } }`;
    const cases = [
      {
        dtype: 'f16',
        type: 'f16',
        enable: 'enable f16;',
        bytes: 8,
        in: [1.5, 0.1, -65504],
        out: [1.5, 0.0999755859375, -65504],
        kind: Float16Array,
      },
      {
        dtype: 'bf16',
        type: 'u32',
        enable: '',
        bytes: 8,
        in: [1.5, 0.1, Number.NaN],
        out: [1.5, 0.10009765625, Number.NaN],
        kind: Float32Array,
      },
      {
        dtype: 'i32',
        type: 'i32',
        enable: '',
        bytes: 12,
        in: [-7, 0, 2 ** 24],
        out: [-7, 0, 2 ** 24],
        kind: Int32Array,
      },
      {
        dtype: 'u32',
        type: 'u32',
        enable: '',
        bytes: 12,
        in: [7, 0, 2 ** 24],
        out: [7, 0, 2 ** 24],
        kind: Uint32Array,
      },
      { dtype: 'bool', type: 'u32', enable: '', bytes: 12, in: [1, 0, 1], out: [1, 0, 1], kind: Uint8Array },
      {
        dtype: 'f32',
        type: 'f32',
        enable: '',
        bytes: 12,
        in: [1.5, -0, 3e38],
        out: [1.5, -0, Math.fround(3e38)],
        kind: Float32Array,
      },
    ] as const;
    for (const c of cases) {
      const features = c.dtype === 'f16' ? (['shader-f16'] as const) : [];
      const made = plan({
        buffers: [
          buffer('p', c.bytes, 'parameter'),
          buffer('x', c.bytes, 'input'),
          buffer('py', c.bytes, 'output'),
          buffer('xy', c.bytes, 'output'),
        ],
        kernels: [kernel('copy', ['read', 'read_write'], copy(c.type, c.enable), features)],
        inputs: [tensor('x', 1, { n: 3 }, c.dtype)],
        parameters: [tensor('p', 0, { n: 3 }, c.dtype)],
        outputs: [tensor('py', 2, { n: 3 }, c.dtype), tensor('xy', 3, { n: 3 }, c.dtype)],
        dispatches: [
          dispatch(
            0,
            [
              [0, c.bytes],
              [2, c.bytes],
            ],
            [1, 1, 1],
          ),
          dispatch(
            0,
            [
              [1, c.bytes],
              [3, c.bytes],
            ],
            [1, 1, 1],
          ),
        ],
      });
      await using(made, { p: c.in }, async (program) => {
        const { py, xy } = await program.run({ x: [...c.in] });
        expect([...(py?.data ?? [])], c.dtype).toEqual(c.out);
        expect([...(xy?.data ?? [])], c.dtype).toEqual(c.out);
        expect(py?.data, c.dtype).toBeInstanceOf(c.kind);
      });
    }
  });

  test('constants come from the plan', async () => {
    const made = totalPlan();
    const constant = plan({
      ...made,
      buffers: made.buffers.map((b, i) =>
        i === 1
          ? buffer('total', 16, 'constant', {
              contents: Buffer.from(Float32Array.of(5, 6, 7, 8).buffer).toString('base64'),
            })
          : b,
      ),
    });
    await using(constant, {}, async (program) => {
      expect([...((await program.run({ x: [1, 1, 1, 1] }))['y']?.data ?? [])]).toEqual([6, 7, 8, 9]);
    });
  });

  test('the memory: load adds what the plan says, transient parameters go, dispose gives everything back', async () => {
    const before = device.memory.now;
    const program = await load(scalePlan(), device, values({ scale }));
    // symbols, x, w, y and the readback of y; the parameter itself is gone
    expect(device.memory.now - before).toBe(4 + 256 + 256 + 256 + 256);
    program.dispose();
    program.dispose();
    expect(device.memory.now).toBe(before);
    await expect(program.run({ x: [1] })).rejects.toThrow(/disposed/);
  });

  test('disposed in mid-run: refused, not hung', async () => {
    const program = await load(totalPlan(), device, values({}));
    const run = program.run({ x: [1, 1, 1, 1] });
    program.dispose();
    await expect(run).rejects.toThrow(/disposed/);
    expect(device.state).toBe('ready');
  });

  test('a source with another number of values is refused by path, and nothing stays', async () => {
    const before = device.memory.now;
    await expect(load(scalePlan(), device, values({ scale: [1, 2] }))).rejects.toThrow(
      /64 values, and its source gave 2[^]*scale/,
    );
    expect(device.memory.now).toBe(before);
  });

  test('a profile of more dispatches than a query set holds', async () => {
    const made = totalPlan();
    const [only] = made.dispatches;
    const many = plan({
      ...made,
      dispatches: Array.from({ length: 2100 }, (_, i) =>
        dispatch(0, only?.bindings.map((b) => [b.buffer, b.bytes] as const) ?? [], [1, 1, 1], `layer.${i}`),
      ),
    });
    await using(many, {}, async (program) => {
      const rows = await program.profile({ x: [1, 1, 1, 1] });
      expect([rows.length, rows[2099]?.path]).toEqual([2100, 'layer.2099']);
      expect([...(await program.readState('total')).data]).toEqual([2100, 2100, 2100, 2100]);
      expect(profileTable(rows).split('\n')).toHaveLength(1 + 40 + 1 + 1);
    });
  });

  test('waits asleep: the thread is free while the device works', async () => {
    const slow = totalPlan();
    const [add] = slow.kernels;
    const work = kernel(
      'slow',
      add?.access ?? [],
      add?.wgsl.replace(
        'total[i] += x[i];',
        'for (var k = 0u; k < 30000000u; k++) { total[i] = fract(total[i] * 1.5 + x[i]); }',
      ) ?? '',
    );
    await using(plan({ ...slow, kernels: [work] }), {}, async (program) => {
      await program.run({ x: [0.1, 0.2, 0.3, 0.4] });
      let turns = 0;
      let waiting = true;
      const turn = (): void => {
        turns++;
        if (waiting) setImmediate(turn);
      };
      setImmediate(turn);
      const started = performance.now();
      await program.run({ x: [0.1, 0.2, 0.3, 0.4] });
      waiting = false;
      const wall = performance.now() - started;
      expect(wall).toBeGreaterThan(20);
      // half a millisecond asleep in each turn of the event loop; spinning makes a hundred turns in that time
      expect(turns).toBeLessThan(wall * 3);
    });
  });

  test.each([[true], [false]])('profile gives a row a dispatch (timestamps: %s)', async (timestamps) => {
    const other = timestamps ? device : await openDevice({ without: ['timestamp-query'] });
    const program = await load(scalePlan(), other, values({ scale }));
    await program.run({ x: [1] });
    const rows = await program.profile({ x: [1, 2, 3] });
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ path: 'block.scale', kernel: 'multiply', flops: 100, bytes: 400 });
    expect(rows[0]?.milliseconds).toBeGreaterThan(0);
    expect(rows[0]?.milliseconds).toBeLessThan(1000);
    expect(profileTable(rows)).toMatch(/block\.scale +kernel 1 +multiply/);
    program.dispose();
    expect(other.memory.now).toBe(0);
    if (!timestamps) other.close();
  });
});
