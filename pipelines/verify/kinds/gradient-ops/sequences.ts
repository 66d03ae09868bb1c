// Attention and rotary embedding of `b h n d`.
import { attention, cos, sin, stack, type Tensor } from '../../../../dsl/index.ts';
import { called, namesOf, repeated, sizeAt, turned, type OpOf, type T } from './case.ts';

/** A mask or bias over `b h q t`, whose axes of size 1 stand for all. */
function onScores<D extends 'f32' | 'bool'>(x: T<D>, groups: number): T<D> {
  const named = called(x, 'b h q t');
  const kept = namesOf(named).filter((_, i) => sizeAt(named, i) !== 1);
  const bare = turned(
    named,
    `${named.axes.map((axis) => (axis.size === 1 ? '()' : axis.name)).join(' ')} -> ${kept.join(' ')}`,
  );
  if (!kept.includes('h')) return bare;
  const split = (names: readonly string[], h: string): string =>
    names.map((name) => (name === 'h' ? h : name)).join(' ');
  return turned(bare, `${split(kept, '(g r)')} -> ${split(kept, 'g r')}`, { g: groups });
}

export const sequences: Readonly<Record<string, OpOf>> = {
  attention: (c) => {
    const k = called(c.x('k'), 'b g t d');
    const groups = sizeAt(k, 1);
    const q = turned(c.x('q', 'b h q d'), 'b (g r) q d -> b g r q d', { g: groups });
    const v = called(c.x('v'), 'b g t d');
    const scale = c.attrs.raw('scale');
    const read = attention<string, string, string, 'f32'>(q, k, v, {
      key: 't',
      along: 'd',
      ...(typeof scale === 'number' ? { scale } : {}),
      mask: c.has('mask')
        ? onScores(c.bool('mask'), groups)
        : c.has('bias')
          ? onScores(c.x('bias'), groups)
          : undefined,
      causal: c.attrs.flag('causal', false) ? 'q' : false,
    });
    return turned(read as T, 'b g r q d -> b h=(g r) q d');
  },
  rope: (c) => {
    const x = c.x('x', 'b h s d');
    const half = sizeAt(x, 3) / 2;
    const theta = c.attrs.number('theta');
    const rates = c.t.constant(
      Array.from({ length: half }, (_, j) => theta ** (-j / half)),
      'j',
      { j: half },
    );
    const positions = called(c.whole('positions'), 'b s').cast('f32');
    const angles = repeated(positions, 'b s -> b s j', { j: half }).mul(rates as T);
    const pairs =
      c.attrs.text('layout') === 'interleaved' ? 'b h s (j pair) -> b h s j pair' : 'b h s (pair j) -> b h s j pair';
    const split = turned(x, pairs, { pair: 2 });
    const [a, b] = [0, 1].map((i) => split.at('pair', i) as Tensor as T) as [T, T];
    const [turn, lift] = [cos(angles), sin(angles)];
    const rotated = stack<string, 'f32', string>([a.mul(turn).sub(b.mul(lift)), b.mul(turn).add(a.mul(lift))], 'pair');
    return turned(
      rotated as Tensor as T,
      c.attrs.text('layout') === 'interleaved'
        ? 'b h s j pair -> b h s d=(j pair)'
        : 'b h s j pair -> b h s d=(pair j)',
    );
  },
};
