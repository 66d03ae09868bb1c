// Linear maps of what was resized: maps at which the rule must put the product on the smaller grid.
import { namesOf } from '../../dsl/axis/axes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { constant, param, typeAttrs } from '../../dsl/ops/source.ts';
import type { DType } from '../../dsl/graph/op.ts';
import type { RuleCase, Sketch } from './rule-cases.ts';

const [small, large, width] = [2, 7, 3];

/** One axis of a grid longer than it was: by a matrix, or by taps that are weighed. */
function stretched(s: Sketch, x: Node, axis: string): Node {
  const inner = `${axis}_in`;
  const names = namesOf(x.type.axes);
  const shown = s.rearrange(
    x,
    `${names.join(' ')} -> ${names.map((name) => (name === axis ? `${inner}=(${axis})` : name)).join(' ')}`,
  );
  const numbers = (count: number) => Float64Array.from({ length: count }, () => s.below(5) / 4);
  const make = (
    axes: readonly { readonly name: string; readonly size: number }[],
    values: Float64Array,
    dtype: DType = 'f32',
  ) => s.make(constant, [], { ...typeAttrs(axes, dtype), values });
  const along = [{ name: axis, size: large }];
  const matrix = () => make([...along, { name: inner, size: small }], numbers(large * small));
  const tap = () => {
    const positions = make(
      along,
      numbers(large).map(() => s.below(small)),
      'i32',
    );
    const read = s.gather(shown, positions, inner);
    const weights = make(along, numbers(large));
    // A tap's own axis comes first in what it read.
    return s.map('mul', read, weights);
  };
  return s.of(
    () => s.product(shown, matrix(), names.join(' ')),
    () => s.product(matrix(), shown, names.join(' ')),
    () => {
      const sum = s.map('add', tap(), tap());
      return s.rearrange(sum, `${namesOf(sum.type.axes).join(' ')} -> ${names.join(' ')}`);
    },
  )();
}

export function resampledProduct(s: Sketch): Node | RuleCase {
  const dtype = s.of<DType>('f32', 'f16');
  const grid = (channels: number): Node => {
    const x = s.sized(
      [...s.axes('b'), { name: 'h', size: small }, { name: 'w', size: small }, { name: 'c', size: channels }],
      dtype,
    );
    const wide = dtype === 'f16' ? s.cast(x, 'f32') : x;
    const map = s.of(
      () => stretched(s, stretched(s, wide, 'h'), 'w'),
      () => stretched(s, wide, 'w'),
    )();
    const named = s.rearrange(map, s.of('b h w c -> b h w c', 'b h w c -> b w h c'));
    return dtype === 'f16' ? s.cast(named, 'f16') : named;
  };
  const map = s.of(
    () => grid(4),
    () => {
      const [first, second] = [grid(3), grid(2)];
      const same = first.type.axes.map(({ name, size }) => `${name}${name === 'c' ? '' : String(size)}`).join();
      const other = second.type.axes.map(({ name, size }) => `${name}${name === 'c' ? '' : String(size)}`).join();
      return same === other ? s.concat([first, second], 'c') : first;
    },
  )();
  const [b, p, q] = namesOf(map.type.axes);
  const x = s.of(
    map,
    s.rearrange(map, `${b} ${p} ${q} c -> ${b} n=(${p} ${q}) c`),
    s.rearrange(map, `${b} ${p} ${q} c -> ${b} ${q} ${p} i=(c)`),
  );
  const rows = namesOf(x.type.axes).slice(0, -1);
  const sum = x.type.axes.at(-1);
  if (sum === undefined) throw new TypeError('no channels');
  const weights = s.make(param, [], {
    ...typeAttrs(s.of([{ name: 'o', size: width }, sum], [sum, { name: 'o', size: width }]), dtype),
    name: 'weights',
  });
  const out = s.shuffled([...rows, 'o'].join(' '));
  return s.of(s.product(x, weights, out), s.product(weights, x, out));
}
