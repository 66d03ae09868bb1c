// What a person reads about a kernel: all of its arithmetic, and which value was stored.
import { elementsOf } from '../../dsl/axis/axes.ts';
import { expect, test } from 'vitest';
import { deviceNamed } from '../../compiler/devices.ts';
import { explain } from '../../compiler/explain.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { compile } from '../../compiler/compile.ts';
import {
  attention,
  gradients,
  order,
  randomParams,
  reduce,
  trace,
  type Graph,
  type Node,
  type Tensor,
} from '../../dsl/index.ts';
import { gelu, linear } from '../../dsl/index.ts';

const { profile } = deviceNamed('lavapipe');

/** Σ of what the records say, for the maps of a graph. */
function mapWork(graph: Graph): number {
  const elements = (node: Node) => elementsOf(node.type.axes);
  return order(graph).reduce((sum, node) => sum + (node.op.kind === 'map' ? node.op.flops * elements(node) : 0), 0);
}

test('a map kernel has the work of every map that it computes in place', () => {
  const graph = trace(randomParams(1), (t) => ({ y: gelu(t.input('x', 'n d', { n: 3, d: 7 })).add(1) }));
  const work = mapWork(graph);
  expect(work).toBeGreaterThan(3 * 7 * 5);
  expect(work).toBeLessThan(1000);
  expect(explain(graph, profile)).toMatch(new RegExp(`\\b0  \\S+ +map .* ${work} FLOP `));
});

test('a value that is stored rather than computed again is named with its axes', () => {
  const graph = trace(randomParams(1), (t) => {
    const x = t.input('x', 'b n d', { b: 1, n: 600, d: 512 });
    return { y: linear(t.params.at('fc'), gelu(x), 'e', { size: 2048 }) };
  });
  expect(explain(graph, profile)).toMatch(
    /mul \[b:1 n:600 d:512\] → contract \[b:1 n:600 e:2048\] in fc: would be computed ×\d+/,
  );
});

test('a row of kernels that share a dispatch has what all of them read, write and compute', () => {
  // Sums and products that do not wait for one another: on the desktop profile they share.
  const graph = trace(randomParams(1), (t) => {
    const x = t.input('x', 'n d', { n: 64, d: 32 });
    const y = linear(t.params.at('fc'), x, 'e', { size: 48 });
    const loss = reduce(y.mul(y), 'n e ->', 'sum');
    const paths = ['weight', 'bias'].map((name) => t.params.at('fc').get(name, name === 'weight' ? 'o i' : 'o'));
    const states = [t.state('a', 'n d', { n: 64, d: 32 }), t.state('b', 'n d', { n: 64, d: 32 })];
    for (const [k, state] of states.entries()) t.update(state, state.add(x.mul(k + 2)));
    const found = gradients(loss, [...paths, x]);
    return { loss, ...Object.fromEntries(found.map((d, i) => [`d${i}`, d])) };
  });
  const plan = compile(graph, desktopGpu);
  expect(plan.dispatches.filter(({ shares }) => (shares?.length ?? 0) > 1).length).toBeGreaterThan(0);
  const last = plan.dispatches.findIndex(({ shares }) => shares !== undefined);
  expect(last).toBeLessThan(plan.dispatches.length - 1);
  const text = explain(graph, desktopGpu);
  const column = (title: string): number =>
    text
      .split('\n')
      .find((line) => line.startsWith('kernel '))
      ?.indexOf(title) ?? -1;
  for (const [i, { bindings, label }] of plan.dispatches.entries()) {
    const row = text.split('\n').find((line) => line.startsWith(`${i} `.padStart(7)));
    const [reads, writes] = [' reads', ' writes'].map((title) =>
      Number(
        row
          ?.slice(0, column(title) + title.length)
          .trim()
          .split(/\s+/)
          .at(-1),
      ),
    );
    expect([i, (reads ?? 0) + (writes ?? 0)]).toEqual([i, bindings.length]);
    const template = row?.slice(column('template')) ?? '';
    expect([label, /^(?:\S+ )*contraction|streaming|few rows/.test(template)]).toEqual([
      label,
      label.includes('contract'),
    ]);
  }
});

test('which products matrix units make is said, and why not the others', () => {
  const units = { subgroupSize: 32, matrices: [{ m: 16, n: 16, k: 16, from: 'f16', to: 'f32' }] };
  const of = (dtype: 'f16' | 'f32', rows: number) =>
    trace(randomParams(1, { dtype }), (t) => ({
      y: linear(t.params.at('fc'), t.input('x', 'n d', { n: rows, d: 64 }, dtype), 'e', { size: 64 }),
    }));
  const line = (graph: Graph, device: DeviceProfile = { ...desktopGpu, ...units }): string | undefined =>
    /^== matrices +16×16×16 f16 → f32; products: (.*)$/m.exec(explain(graph, device))?.[1];
  expect(line(of('f16', 64))).toBe('by matrix units ×1');
  expect(line(of('f32', 64))).toBe('an operand is f32 ×1');
  expect(line(of('f16', 5))).toBe('it is smaller than a block ×1');
  expect(line(of('f16', 2))).toBe('it is smaller than a block ×1');
  expect(line(of('f16', 64), { ...desktopGpu, ...units, subgroupSize: undefined })).toBe(
    'its subgroups have no fixed number of lanes ×1',
  );
  expect(explain(of('f16', 64), desktopGpu)).not.toContain('== matrices');
  const attended = (rows: number, head: number) =>
    trace(randomParams(1, { dtype: 'f16' }), (t) => {
      const input = (name: string, n: string, size: number) =>
        t.input(name, `h ${n} d`, { h: 2, [n]: size, d: head }, 'f16') as Tensor<string, 'f16'>;
      return {
        y: attention(input('q', 'n', rows), input('k', 't', 64), input('v', 't', 64), { key: 't', along: 'd' }),
      };
    });
  const many = { ...desktopGpu, ...units, choices: { splitAttentionRows: 0 } };
  expect(line(attended(64, 64), many)).toBe('by matrix units ×1');
  expect(line(attended(8, 64), many)).toBe('it is smaller than a block ×1');
  expect(line(attended(64, 64), { ...many, maxWorkgroupBytes: 4096 })).toBe('no tile fits the workgroup memory ×1');
  expect(line(attended(64, 64), { ...many, subgroupSize: 8 })).toBe(
    'a subgroup has fewer lanes than a block has rows ×1',
  );
});
