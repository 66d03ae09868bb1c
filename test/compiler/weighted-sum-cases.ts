// Σ_t p_t (a·v_t) where Σ_t p_t v_t is there already, among other factors: also where p has the product in it, or it is there twice.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { sum } from '../../dsl/ops/reduce.ts';
import type { RuleCase, Sketch } from './rule-cases.ts';

export function weightedSum(s: Sketch): RuleCase {
  const sizes = { h: 1 + s.below(3), q: 2 + s.below(2), t: 12, d: 2 + s.below(3) };
  const axes = (text: string): readonly Axis[] =>
    text.split(' ').map((name) => ({ name, size: { ...sizes }[name] ?? 1 }));
  const heads = s.of('h ', '');
  const values = s.sized(axes(s.of(`${heads}t d`, `${heads}d t`)));
  const product = s.product(s.sized(axes(`${heads}q d`)), values, `${heads}q t`);
  const scores = s.map('exp', s.sized(axes(`${heads}q t`)));
  const [isIn, isTwice] = [s.below(6) === 0, s.below(6) === 0];
  const weights = isIn ? s.map('mul', scores, product) : scores;
  const summed = s.product(weights, values, s.of(`${heads}q d`, `q ${heads}d`));
  const other = s.sized(axes(s.of(`${heads}q`, 'q')));
  const times = (x: Node, y: Node): Node => (s.below(2) === 0 ? s.map('mul', x, y) : s.map('mul', y, x));
  const once = isIn ? weights : times(weights, product);
  const all = isTwice ? times(once, product) : once;
  const whole = s.of(
    () => all,
    () => times(all, other),
    () => s.map('div', all, s.map('exp', other)),
    () => s.map('neg', all),
  )();
  return { left: s.make(sum, [whole], { axes: ['t'] }), others: [summed] };
}
