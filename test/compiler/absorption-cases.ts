// Attentions in which some parts of keys and values are projected for few queries: the left sides of the rule that takes the weights to the other side.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { reduceMax, sum } from '../../dsl/ops/reduce.ts';
import { param, typeAttrs } from '../../dsl/ops/source.ts';
import { rearrange } from '../../dsl/ops/view.ts';
import type { Sketch } from './rule-cases.ts';

let made = 0;

const named = (s: Sketch, axes: readonly Axis[], dtype: DType): Node =>
  s.make(param, [], { ...typeAttrs(axes, dtype), name: `w${made++}` });

/** softmax(scale · q·concat(keys)) · concat(values); of one to four parts at least one has many tokens. */
export function absorbedAttention(s: Sketch): Node {
  made = 0;
  const dtype: DType = s.of('f32', 'f32', 'f16');
  const [b, q, h, d, c] = [1 + s.below(2), 1 + s.below(3), 1 + s.below(3), 4 + s.below(2), 3 + s.below(6)];
  const shared = s.below(3) === 0;
  const queries = shared ? 1 : q;
  const axes = (text: string, sizes: Readonly<Record<string, number>>): readonly Axis[] =>
    text.split(' ').map((name) => ({ name, size: sizes[name] ?? 0 }));
  const sizes = { b, q: queries, h, d, c, e: h * d };
  const query = s.sized(axes('b q h d', sizes), dtype);
  const count = 1 + s.below(4);
  const many = s.below(count);
  const lengths = Array.from({ length: count }, (_, i) => (i === many ? 9 + s.below(8) : 1 + s.below(2)));
  const total = lengths.reduce((x, y) => x + y, 0);
  // Heads split off the joined features, or columns of the weights from the start.
  const merged = s.below(3) > 0;
  const rows = shared ? 'b t' : s.of('b q t', 'q b t');
  const part = (t: number, width: string): Node => {
    const own = { ...sizes, t };
    const columns = merged ? 'e' : width;
    if (s.below(5) === 0) return s.sized(axes(`${rows} ${columns}`, own), dtype);
    const weights = named(s, axes(s.of(`${columns} c`, `c ${columns}`), own), dtype);
    const y = s.product(s.sized(axes(s.of(`${rows} c`, `c ${rows}`), own), dtype), weights, `${rows} ${columns}`);
    return s.of(
      () => y,
      () => s.map('add', y, named(s, axes(columns, own), dtype)),
      () => s.map('add', named(s, axes(merged ? 'e' : 'd', own), dtype), y),
    )();
  };
  const projected = (t: number, width: string): Node => {
    const own = { ...sizes, t };
    const y = s.product(
      s.sized(axes(`${rows} c`, own), dtype),
      named(s, axes(merged ? 'e c' : `c ${width}`, own), dtype),
      `${rows} ${merged ? 'e' : width}`,
    );
    return s.below(2) === 0 ? y : s.map('add', y, named(s, axes(merged ? 'e' : width, own), dtype));
  };
  const joined = (): Node => {
    const all = s.concat(
      lengths.map((t, i) => (i === many ? projected(t, 'h d') : part(t, 'h d'))),
      't',
    );
    const x = count === 1 ? (all.inputs[0] ?? all) : all;
    if (!merged) return x;
    const names = rows.split(' ');
    return s.make(rearrange, [x], {
      split: [...names.map((name) => [name]), ['h', 'd']],
      merge: [...names, 'h', 'd'].map((name) => ({ name, parts: [name] })),
      sizes: { ...sizes, t: total },
    });
  };
  const scores = s.product(query, joined(), s.of('b q h t', 'b h q t', 'h b q t'));
  const scaled = s.map('mul', s.cast(scores, 'f32'), s.scalar(0.5));
  const logits =
    s.below(2) === 0
      ? scaled
      : s.map('where', s.sized(axes(s.of('b q t', 't'), { ...sizes, t: total }), 'bool'), scaled, s.scalar(-3e38));
  const top = s.make(reduceMax, [logits], { axes: ['t'] });
  const powers = s.map('exp', s.map('sub', logits, top));
  const weights = s.cast(s.map('div', powers, s.make(sum, [powers], { axes: ['t'] })), dtype);
  const value = joined();
  return s.of(
    () => s.product(weights, value, s.shuffled('b q h d')),
    () => s.product(value, weights, s.shuffled('b q h d')),
  )();
}
