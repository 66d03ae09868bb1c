// What gradients make of projected tokens, with many tokens to a query: the left sides of the rules that change the order of three factors.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { broadcast, rearrange } from '../../dsl/ops/view.ts';
import type { RuleCase, Sketch } from './rule-cases.ts';

function drawn(s: Sketch) {
  const sizes = {
    b: 1 + s.below(2),
    q: 1 + s.below(3),
    h: 1 + s.below(3),
    d: 8 + s.below(2),
    c: 3 + s.below(4),
    t: 20,
  };
  const axes = (text: string, own: Readonly<Record<string, number>> = {}): readonly Axis[] =>
    text.split(' ').map((name) => ({ name, size: { ...sizes, e: sizes.h * sizes.d, ...own }[name] ?? 0 }));
  return { sizes, axes, dtype: s.of<DType>('f32', 'f32', 'f16') };
}

/** Heads as axes of their own, or as one. */
function regrouped(s: Sketch, x: Node, sizes: Readonly<Record<string, number>>, splits: boolean): Node {
  const alone = x.type.axes.map(({ name }) => name).filter((name) => !['h', 'd', 'e'].includes(name));
  const own = Object.fromEntries(x.type.axes.map(({ name, size }) => [name, size]));
  const [whole, parts] = [
    [...alone.map((name) => [name]), ['h', 'd']],
    [...alone, 'h', 'd'],
  ];
  return s.make(rearrange, [x], {
    split: splits ? whole : parts.map((name) => [name]),
    merge: splits
      ? parts.map((name) => ({ name, parts: [name] }))
      : whole.map((names, i) => ({ name: alone[i] ?? 'e', parts: names })),
    sizes: { ...sizes, ...own },
  });
}

/** q·K and Σ s K of one K, made of one to three parts. Either is the left side. */
export function readTwice(s: Sketch): RuleCase {
  const { sizes, axes, dtype } = drawn(s);
  const shared = s.below(3) === 0;
  const rows = shared ? 'b t' : s.of('b q t', 'q b t');
  const count = 1 + s.below(3);
  const lengths = Array.from({ length: count }, (_, i) => (i === 0 ? sizes.t : 1 + s.below(3)));
  const parts = lengths.map((t, i) => {
    if (i > 0 && s.below(2) === 0) return s.sized(axes(`${rows} e`, { t }), dtype);
    const x = s.sized(axes(s.of(`${rows} c`, `c ${rows}`), { t }), dtype);
    const y = s.product(x, s.sized(axes(s.of('e c', 'c e')), dtype), `${rows} e`);
    const bias = s.below(3) === 0;
    // A bias that is known when the weights are, as a norm leaves behind.
    return bias
      ? s.map(
          'add',
          y,
          s.make(broadcast, [s.scalar(0.5, dtype)], { axes: axes('e').map(({ name, size }) => ({ name, size })) }),
        )
      : y;
  });
  const total = lengths.reduce((sum, t) => sum + t, 0);
  const all = count === 1 ? (parts[0] ?? s.concat(parts, 't')) : s.concat(parts, 't');
  const keys = regrouped(s, all, sizes, true);
  const queries = shared ? { q: 1 } : {};
  const read = s.product(s.sized(axes('b q h d', queries), dtype), keys, s.of('b q h t', 'h b q t'));
  const weights = s.sized(axes('b h q t', { ...queries, t: total }), dtype);
  const summed = s.of(
    () => s.product(weights, keys, s.shuffled('b q h d')),
    () => s.product(keys, weights, s.shuffled('b q h d')),
  )();
  return s.of({ left: read, others: [summed] }, { left: summed, others: [read] });
}

/** (a ⊗ s)·x over the tokens, or (a ⊗ s)·W over the columns: gradients of weights and of tokens. */
export function outerProduct(s: Sketch): Node {
  const { sizes, axes, dtype } = drawn(s);
  const whole = axes(s.of('b q t h d', 'b t q h d'));
  const wide = (x: Node): Node =>
    s.below(2) === 0 ? x : s.make(broadcast, [x], { axes: whole.map(({ name, size }) => ({ name, size })) });
  const [a, weights] = [
    s.sized(axes(s.of('b q h d', 'q b h d')), dtype),
    s.sized(axes(s.of('b q h t', 'b q t h')), dtype),
  ];
  // An operand alone has all axes.
  const outer = s.make(mapOp('mul'), [
    s.make(broadcast, [a], { axes: whole.map(({ name, size }) => ({ name, size })) }),
    wide(weights),
  ]);
  const merged = regrouped(s, outer, sizes, false);
  const t = s.of(sizes.t, 16);
  const cut = t === sizes.t ? merged : s.slice(merged, 't', s.below(sizes.t - t + 1), t);
  return s.of(
    () => s.product(cut, s.sized(axes(s.of('b q t c', 'c t q b'), { t }), dtype), s.of('e c', 'c e')),
    () => s.product(s.sized(axes('b q t c', { t }), dtype), cut, s.of('e c', 'c e')),
    () => s.product(cut, s.sized(axes(s.of('e c', 'c e')), dtype), s.of('b q t c', 't b c q')),
  )();
}
