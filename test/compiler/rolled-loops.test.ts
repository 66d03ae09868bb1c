// Which loops a software driver is kept from unrolling: those that load much, and none over registers.
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import type { Stmt } from '../../compiler/kernel/kernel.ts';
import { rollLoops } from '../../compiler/kernel/rolled-loops.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import { code } from '../../dsl/wgsl.ts';
import { randomParams, reduce, trace } from '../../dsl/index.ts';

const memory = {
  slots: [{ name: 'x0', width: 4 }] as never,
  shared: [{ name: 'tile', type: 'f32', length: 64 }] as const,
};
const load = (text: string): Stmt => ({ kind: 'assign', target: 'sum', value: code(text, 'f32') });
const loop = (name: string, end: string, body: readonly Stmt[]): Stmt => ({
  kind: 'loop',
  name,
  from: '0u',
  end,
  step: 1,
  body,
});
/** Names of the loops that are rolled, outermost first. */
const rolled = (stmts: readonly Stmt[], loads = 16): readonly string[] =>
  rollLoops(stmts, loads, memory).flatMap(function names(stmt): readonly string[] {
    if (stmt.kind !== 'loop' && stmt.kind !== 'when') return [];
    return [...(stmt.kind === 'loop' && stmt.rolled === true ? [stmt.name] : []), ...stmt.body.flatMap(names)];
  });

describe('a loop is rolled', () => {
  test('where its turns load more than the limit, each element of a vector counted', () => {
    expect(rolled([loop('i', '5u', [load('x0[i].x')])])).toEqual(['i']);
    expect(rolled([loop('i', '4u', [load('x0[i].x')])])).toEqual([]);
    expect(rolled([loop('i', '16u', [load('tile[i]')])])).toEqual([]);
    expect(rolled([loop('i', '17u', [load('tile[i]')])])).toEqual(['i']);
  });

  test('with what stands in loops and conditions inside it; where the inner one is rolled, it counts once', () => {
    const inner = loop('j', '3u', [load('x0[j].x')]);
    expect(rolled([loop('i', '2u', [inner])])).toEqual(['i']);
    expect(rolled([loop('i', '2u', [{ kind: 'when', test: 'i < n', body: [inner] }])])).toEqual(['i']);
    expect(rolled([loop('i', '2u', [loop('j', '6u', [load('x0[j].x')])])])).toEqual(['j']);
  });

  test('unless the driver does not know its turns anyway, or they are too many for it', () => {
    expect(rolled([loop('i', 'size_n', [load('x0[i].x')])])).toEqual([]);
    expect(rolled([loop('i', '8u + unknown_zero', [load('x0[i].x')])])).toEqual([]);
    expect(rolled([loop('i', '33u', [load('x0[i].x')])])).toEqual([]);
  });

  test('and never where it counts registers, nor without a limit', () => {
    const registers: Stmt = { kind: 'array', name: 'result', type: 'vec4f', length: 8 };
    const write: Stmt = { kind: 'assign', target: 'result[(i + 1u)]', value: code('x0[i]', 'vec4f') };
    expect(rolled([registers, loop('i', '8u', [write])])).toEqual([]);
    // The loop outside it may be: it counts rows of memory.
    expect(rolled([registers, loop('t', '8u', [loop('i', '8u', [write])])])).toEqual(['t']);
    expect(rolled([loop('i', '8u', [load('x0[i].x')])], Infinity)).toEqual([]);
  });
});

test('on software devices alone', () => {
  const sums = trace(randomParams(0), (t) => ({
    y: reduce(t.input('x', 'b s c', { b: 32, s: 8, c: 12 }), 'b s c -> c', 'sum'),
  }));
  const texts = (profile: typeof lavapipe) => compile(sums, profile).kernels.map(({ wgsl }) => wgsl);
  expect(texts(lavapipe).join('\n')).toMatch(/for \(var \w+ = unknown_zero; /);
  expect(texts(desktopGpu).join('\n')).not.toContain('= unknown_zero;');
});
