// The CPU as a place for models: our exports in ONNX Runtime's process, without a GPU. What they compute is held against the interpreter.
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { storageOn } from '../../cli/device-option.ts';
import { report } from '../../cli/doctor.ts';
import { einsum, randomParams, trace, type Graph } from '../../dsl/index.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { quantizeModel } from '../../pipelines/quantize/quantize-model.ts';
import { CpuEngine } from '../../pipelines/run/cpu/cpu-engine.ts';
import { openCpu } from '../../pipelines/run/cpu/open-cpu.ts';
import { permuted } from '../../pipelines/run/cpu/weights-file.ts';
import type { CpuPlace, Runnable } from '../../pipelines/run/engine.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';
import { OnnxRuntime } from '../../runtime/onnx/onnx-runtime.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = join(import.meta.dirname, '../..');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-on-cpu-'));
let made = '';
let cpu: CpuPlace;
beforeAll(async () => {
  made = makeLanguage(join(scratch, 'made'), 'llama');
  cpu = await openCpu();
});
afterAll(() => {
  cpu.close();
  rmSync(scratch, { recursive: true });
});

const source = randomParams(7);

/** y = x·Wᵀ and z = c·W with c a state that x is added to: W is read in both orders. */
function both(): Graph {
  return trace(source, (t) => {
    const b = t.symbol('b', { upTo: 4 });
    const x = t.input('x', 'b i', { b, i: 6 });
    const w = t.params.get('w', 'o i', { o: 5, i: 6 });
    const c = t.state('c', 'o', { o: 5 });
    const y = einsum(x, w, 'b i, o i -> b o');
    const sum = c.add(y.at('b', 0));
    t.update(c, sum);
    return { y, z: einsum(sum, w, 'o, o i -> i') };
  });
}

/** The same state, read by a program of its own. */
function reading(): Graph {
  return trace(source, (t) => ({
    twice: t.state('c', 'o', { o: 5 }).mul(2),
    v: einsum(t.input('x', 'b i', { b: 1, i: 6 }), t.params.get('w', 'o i', { o: 5, i: 6 }), 'b i, o i -> b o'),
  }));
}

test('states go from run to run and from program to program, each weight lies in the files once for each order it is read in', async () => {
  const folder = join(scratch, 'files');
  mkdirSync(folder);
  const runtime = new OnnxRuntime();
  try {
    const limit = (): { device: string; budget: number } => ({ device: 'the CPU', budget: 2 ** 30 });
    const engine = new CpuEngine({ runtime, folder, name: 'a', limit }, source);
    const [first, second] = [
      await engine.prepare('both', both).load(),
      await engine.prepare('reading', reading).load(),
    ];
    const judge = interpret(both(), source);
    let state: readonly number[] = [];
    for (const rows of [
      [1, 2, 3, 4, 5, 6],
      [0.5, -1, 2, 0, 0, 1, 6, 5, 4, 3, 2, 1],
    ]) {
      const x = Float32Array.from(rows);
      const [got, want] = [await first.run({ x }), await judge.run({ x })];
      expect(got['y']?.axes).toEqual(want['y']?.axes);
      for (const name of ['y', 'z']) expectNear(got[name]?.data, want[name]?.data);
      // y of the first row, summed over the runs.
      state = Array.from(want['y']?.data.subarray(0, 5) ?? [], (value, i) => Number(value) + (state[i] ?? 0));
    }
    const { twice, v } = await second.run({ x: new Float32Array(6) });
    expectNear(
      twice?.data,
      state.map((value) => 2 * value),
    );
    expect(Array.from(v?.data ?? [])).toEqual([0, 0, 0, 0, 0]);
    await expect(second.run({ x: new Float32Array(5) })).rejects.toThrow(/input 'x'[^]*takes 6 elements, got 5/);
    await expect(second.run({ x: new Float32Array(6) }, { outputs: ['w'] })).rejects.toThrow(/no output 'w'/);
    const bytes = readdirSync(folder)
      .filter((name) => name.endsWith('.weights'))
      .map((name) => statSync(join(folder, name)).size);
    // One behind the other at the beginning of a page, and nothing for the second program.
    expect(bytes.toSorted((a, b) => a - b)).toEqual([0, 4096 + 5 * 6 * 4]);
    first.dispose();
    second.dispose();
    const [again] = [await engine.prepare('reading', reading).load()];
    // With its last program a state is gone.
    expect(Array.from((await again.run({ x: new Float32Array(6) }))['twice']?.data ?? [])).toEqual([0, 0, 0, 0, 0]);
  } finally {
    runtime.close();
  }
});

/** Sums of six products, in any order: 2⁻²³ of what is summed each. */
function expectNear(got: ArrayLike<number> | undefined, want: ArrayLike<number> | undefined): void {
  expect(got?.length).toBe(want?.length);
  for (let i = 0; i < (want?.length ?? 0); i++)
    expect(Math.abs((got?.[i] ?? NaN) - (want?.[i] ?? NaN))).toBeLessThanOrEqual(6 * 2 ** -23 * 30);
}

test('numbers in another order of axes are those of the index map', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }).chain((shape) =>
        fc.record({
          shape: fc.constant(shape),
          order: fc.shuffledSubarray(
            shape.map((_, i) => i),
            { minLength: shape.length, maxLength: shape.length },
          ),
        }),
      ),
      ({ shape, order }) => {
        const count = shape.reduce((product, size) => product * size, 1);
        const values = Float32Array.from({ length: count }, (_, i) => i);
        const got = [...permuted(values, shape, order)].flatMap((piece) => [...piece]);
        const sizes = order.map((place) => shape[place] ?? 0);
        got.forEach((value, at) => {
          // The index of this element by axes of the new order, brought into the old one.
          let rest = at;
          const index: number[] = [];
          for (let axis = sizes.length - 1; axis >= 0; axis--) {
            index[order[axis] ?? 0] = rest % (sizes[axis] ?? 1);
            rest = Math.floor(rest / (sizes[axis] ?? 1));
          }
          expect(value).toBe(index.reduce((sum, i, axis) => sum * (shape[axis] ?? 1) + i, 0));
        });
        expect(got.length).toBe(count);
      },
    ),
  );
});

test('what takes more memory than there is, is refused before a file is written', async () => {
  const folder = join(scratch, 'none');
  mkdirSync(folder);
  const runtime = new OnnxRuntime();
  try {
    const engine = new CpuEngine(
      { runtime, folder, name: 'a', limit: () => ({ device: 'the CPU', budget: 100 }) },
      source,
    );
    expect(() => engine.check([engine.prepare('both', both)], { context: 8 })).toThrow(/the CPU' offers 100/);
    expect(readdirSync(folder)).toEqual([]);
  } finally {
    runtime.close();
  }
});

test('f16 and packed weights are refused with what to do', async () => {
  const halves = await openModel(made, { dtype: 'f16' });
  await expect(Session.open(halves, cpu, { context: 32 })).rejects.toThrow(/opened as f16[^]*open it as f32/);
  halves.close();
  const out = join(scratch, 'q8');
  await quantizeModel(made, { format: 'q8', out, group: 16 });
  const packed = await openModel(out, { dtype: 'f32' });
  await expect(Session.open(packed, cpu, { context: 32 })).rejects.toThrow(/read packed[^]*weights: 'floats'/);
  packed.close();
});

function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [join(root, 'cli/opabinia.ts'), 'run', made, '--prompt', 'Hi', ...args], {
    encoding: 'utf8',
    timeout: 240_000,
    env: { ...process.env, ...env },
  });
}

test.each([
  ['--dtype f16', { dtype: 'f16' }],
  ['--weights q8', { dtype: 'f32', weights: 'q8' }],
  ['--weights f16', { weights: 'f16' }],
] as const)('--device cpu %s is refused', (asked, flags) => {
  expect(() => storageOn({ ...flags, device: 'cpu' })).toThrow(`${asked} is asked for with --device cpu`);
  expect(storageOn({ ...flags, device: 'gpu' })).not.toEqual({ dtype: 'f32', weights: 'floats' });
});

test('--device cpu without the package: exit code 1, and the command that installs it', { timeout: 300_000 }, () => {
  const hook = `import { registerHooks } from 'node:module'; registerHooks({ resolve(name, context, next) {
    if (name !== 'onnxruntime-node') return next(name, context);
    throw Object.assign(new Error("Cannot find package 'onnxruntime-node'"), { code: 'ERR_MODULE_NOT_FOUND' });
  } });`;
  const temporary = join(scratch, 'temporary');
  mkdirSync(temporary);
  const { status, stdout, stderr } = run(['--device', 'cpu', '--context', '64'], {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hook)}`,
    TMPDIR: temporary,
  });
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/onnxruntime-node is not installed\n\s+try npm install onnxruntime-node/);
  expect(readdirSync(temporary)).toEqual([]);
});

test('--device cpu takes nothing with it when it is done: no file, no process', { timeout: 300_000 }, () => {
  const temporary = join(scratch, 'done');
  mkdirSync(temporary);
  const { status, stdout, stderr } = run(['--device', 'cpu', '--context', '64', '--max-new-tokens', '2', '--json'], {
    TMPDIR: temporary,
  });
  expect(stderr).toContain('on the CPU (ONNX Runtime');
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ device: expect.stringContaining('ONNX Runtime') });
  expect(readdirSync(temporary).filter((name) => name.startsWith('opabinia-cpu'))).toEqual([]);
});

test('what is asked of a process that has ended is refused', async () => {
  const place = await openCpu();
  const model = await openModel(made);
  const session = await Session.open(model, place, { context: 32 });
  place.close();
  const answer = session.answer({ text: 'Hi' }, { maxNewTokens: 2 });
  await expect(answer.next()).rejects.toThrow(/the process ended/);
  session.dispose();
  model.close();
});

test('a program that was disposed of says so', async () => {
  const program: Runnable = await cpu.engine(source).prepare('reading', reading).load();
  program.dispose();
  program.dispose();
  await expect(program.run({ x: new Float32Array(6) })).rejects.toThrow(/disposed of/);
});

const facts = {
  name: 'lavapipe',
  vendor: 'mesa',
  architecture: 'software',
  driver: 'llvmpipe',
  subgroups: { least: 8, most: 8 },
  features: [],
  limits: {
    maxBufferSize: 2 ** 30,
    maxStorageBufferBindingSize: 2 ** 27,
    maxStorageBuffersPerShaderStage: 16,
    maxComputeWorkgroupStorageSize: 32768,
    maxComputeInvocationsPerWorkgroup: 1024,
    maxComputeWorkgroupSizeX: 1024,
    maxComputeWorkgroupSizeY: 1024,
    maxComputeWorkgroupSizeZ: 1024,
    maxComputeWorkgroupsPerDimension: 65535,
    minStorageBufferOffsetAlignment: 16,
  },
  matrices: [],
};

test('doctor recommends it where there is only a software driver, and says whether the package is there', () => {
  const [absent, there] = [
    report({ ...facts, software: true }, undefined),
    report({ ...facts, software: true }, '1.2.3'),
  ];
  expect(absent).toMatch(/onnxruntime-node {2}not installed\n[^]*--device cpu[^]*npm install onnxruntime-node$/);
  expect(there).toMatch(
    /onnxruntime-node {2}1\.2\.3\n[^]*--device cpu answer on ONNX Runtime 1\.2\.3, which is installed/,
  );
  expect(there).not.toContain('npm install');
  expect(report({ ...facts, software: false }, undefined)).not.toContain('--device cpu');
});
