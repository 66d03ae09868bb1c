// What is computed in front of loops, and which of them a software driver is kept from unrolling: those that load much, and none over registers.
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import type { Stmt } from '../../compiler/kernel/kernel.ts';
import { hoistInvariants, rollLoops } from '../../compiler/kernel/loops.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import { code } from '../../dsl/wgsl.ts';
import { linear, randomParams, reduce, trace } from '../../dsl/index.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';

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

describe('in front of a loop', () => {
  const value = (name: string, text: string): Stmt => ({ kind: 'let', name, value: code(text, 'f32') });
  const turning = (name: string, body: readonly Stmt[]): Stmt => ({
    kind: 'loop',
    name,
    from: '0u',
    end: 'steps',
    step: 1,
    body,
    turns: true,
  });
  /** `a b (i: c)`: what stands before the loop over i, and in it. */
  const order = (stmts: readonly Stmt[]): string =>
    hoistInvariants(stmts)
      .map(function text(stmt): string {
        if (stmt.kind === 'loop') return `(${stmt.name}: ${stmt.body.map(text).join(' ')})`;
        return 'name' in stmt ? stmt.name : stmt.kind;
      })
      .join(' ');

  test('stands what does not depend on its counter, on what it assigns, or on what depends on these', () => {
    expect(
      order([
        turning('i', [
          value('at', 'group.x * 4u'),
          value('word', 'x0[at]'),
          value('code', 'word >> i'),
          value('half', 'word * 0.5'),
          value('far', 'sum + word'),
          load('sum + code'),
        ]),
      ]),
    ).toBe('at word half (i: code far assign)');
  });

  test('stands nothing where it may not turn, or does more than compute; nothing that lanes exchange', () => {
    const body = [value('word', 'x0[lane]')];
    expect(order([loop('i', 'steps', body)])).toBe('(i: word)');
    expect(order([turning('i', [...body, { kind: 'barrier' }])])).toBe('(i: word barrier)');
    expect(order([turning('i', [value('other', 'subgroupShuffle(mine, 3u)')])])).toBe('(i: other)');
    // Out of both loops, and out of one inside a loop that may not turn.
    expect(order([turning('j', [turning('i', body)])])).toBe('word (j: (i: ))');
    expect(order([loop('j', 'n', [turning('i', body)])])).toBe('(j: word (i: ))');
  });
});

test.each([
  ['q4', /for \(var \w+_in_block[^\n]*\n([\s\S]*?)\n    \}/],
  ['q8', /for \(var \w+_in_word[^\n]*\n([\s\S]*?)\n      \}/],
] as const)('a word of codes in %s is loaded once for all that it holds, and a scale for its group', (format, loop) => {
  const floats = randomParams(1);
  const packed = quantizedSource({ ...floats, shape: () => [64, 128] }, { format });
  const graph = trace(packed, (t) => ({
    y: linear(t.params.at('l'), t.input('x', 'n i', { n: 1, i: 128 }), 'o', { size: 64, bias: false }),
  }));
  const [kernel] = compile(graph, lavapipe).kernels.filter(({ wgsl }) => wgsl.includes('by shuffles'));
  const [, inner = ''] = loop.exec(kernel?.wgsl ?? '') ?? [];
  expect(inner).toContain('subgroupShuffle');
  expect(inner).not.toMatch(/x\d\[/);
});
