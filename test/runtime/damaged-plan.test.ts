// A plan that was kept as JSON and damaged there: each field that is no longer a plan's is told by its name, and nothing else is thrown.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { lavapipe } from '../../compiler/profile.ts';
import { linear, OpabiniaError, randomParams, trace } from '../../dsl/index.ts';
import { load } from '../../pipelines/run/load.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';

const params = randomParams(1);
const graph = trace(params, (t) => {
  const n = t.symbol('n', { upTo: 9 });
  const total = t.state('total', 'e', { e: 4 });
  t.update(total, total.add(1));
  const map = t.input('map', 'n c', { n, c: 8 });
  const shifted = map.add(t.constant([1, 2, 3, 4, 5, 6, 7, 8], 'c', { c: 8 }));
  return { y: linear(t.params.at('proj'), shifted, 'e', { size: 4 }).add(total) };
});
const text = JSON.stringify(compile(graph, lavapipe));

type Json = { [key: string]: Json } | Json[] | string | number | boolean | null;
type Path = readonly (string | number)[];

/** Every place in it, the inner ones too. */
function pathsOf(value: Json, at: Path = []): readonly Path[] {
  if (typeof value !== 'object' || value === null) return [at];
  const entries: readonly (readonly [string | number, Json])[] = Array.isArray(value)
    ? [...value.entries()]
    : Object.entries(value);
  return [...(at.length === 0 ? [] : [at]), ...entries.flatMap(([key, inner]) => pathsOf(inner, [...at, key]))];
}

function damaged(path: Path, value: Json | undefined): unknown {
  const plan: Json = JSON.parse(text);
  let inner: Json | undefined = plan;
  for (const key of path.slice(0, -1)) inner = (inner as { [key: string]: Json })[key];
  const last = path.at(-1) ?? '';
  if (value !== undefined) (inner as { [key: string]: Json })[last] = value;
  else if (Array.isArray(inner)) inner.splice(Number(last), 1);
  else delete (inner as { [key: string]: Json })[last];
  return plan;
}

let device: Device;
beforeAll(async () => {
  device = await openDevice({ backend: 'null' });
});
afterAll(() => device.close());

/** What loading it ends in; undefined where it was taken. */
async function failure(plan: unknown): Promise<unknown> {
  try {
    (await load(plan as never, device, params)).dispose();
    return undefined;
  } catch (error) {
    return error;
  }
}

test('a field that is missing, or of another kind, is named', async () => {
  expect(await failure(JSON.parse(text))).toBeUndefined();
  for (const [path, value, named] of [
    [['version'], undefined, 'version'],
    [['kernels'], null, 'kernels'],
    [['dispatches'], undefined, 'dispatches'],
    [['parameters', 0, 'axes', 0, 'size'], { symbl: 'n' }, 'parameters.0.axes.0.size'],
    [['buffers', 1, 'bytes'], '64', 'buffers.1.bytes'],
    [['dispatches', 0, 'bindings', 0, 'offset'], -4, 'dispatches.0.bindings.0.offset'],
    [['outputs', 0, 'axes', 0, 'size'], -3, "tensor 'y' has an axis 'n' of -3"],
    [['outputs', 0, 'axes', 0, 'size'], 1_000_000_000, "tensor 'y' ends at byte"],
    [['version'], 2, 'version 2, and this runtime reads version 1'],
  ] as const) {
    const error = await failure(damaged(path, value as Json | undefined));
    expect(error, path.join('.')).toBeInstanceOf(OpabiniaError);
    expect(String((error as Error).message)).toContain(named.includes(' ') ? named : `'${named}'`);
  }
});

test('whatever is damaged, what is thrown is typed', async () => {
  const damages: readonly (Json | undefined)[] = [undefined, null, 'x', -1, 1e9];
  const raw: string[] = [];
  for (const path of pathsOf(JSON.parse(text)))
    for (const value of damages) {
      const error = await failure(damaged(path, value));
      if (error !== undefined && !(error instanceof OpabiniaError)) raw.push(`${path.join('.')}: ${String(error)}`);
    }
  expect(raw).toEqual([]);
});
