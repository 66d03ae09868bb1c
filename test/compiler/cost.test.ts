// FLOPs and bytes against sums done by hand, and against the table of the SVA's specification (Cambrian-1, one layer at 8B).
import { expect, test } from 'vitest';
import { flopsOf, graphCost, trafficOf } from '../../compiler/cost.ts';
import { axisOf, order, trace, type Node } from '../../dsl/index.ts';
import { visionCrossAttentionLayer } from '../../models/parts/sva/layer.ts';
import { sourceOf } from './models.ts';
import { Sketch } from './rule-cases.ts';

const s = new Sketch(() => 0);
const sized = (...axes: readonly (readonly [string, number])[]): Node =>
  s.sized(axes.map(([name, size]) => ({ name, size })));

test('a contraction costs two operations a term, and reads both operands', () => {
  const node = s.product(sized(['b', 2], ['m', 3], ['k', 5]), sized(['k', 5], ['n', 7]), 'b m n');
  expect(flopsOf(node)).toBe(2 * (2 * 3 * 7) * 5);
  expect(trafficOf(node)).toBe(4 * (2 * 3 * 5 + 5 * 7 + 2 * 3 * 7));
});

test('a reduction costs one operation an element, a map what its record says', () => {
  const x = sized(['m', 3], ['k', 5]);
  expect(flopsOf(s.reduction(x, 'k'))).toBe(15);
  expect(flopsOf(s.map('erf', x))).toBe(16 * 15);
  expect(flopsOf(s.map('add', x, sized(['k', 5])))).toBe(15);
});

test('a broadcast is read at its own size, a view is free, a gather reads the rows it takes', () => {
  const x = sized(['m', 3]);
  const table = sized(['v', 1000], ['d', 4]);
  const index = s.cast(sized(['t', 6]), 'i32');
  const wide = s.wide(x, 'm q');
  expect(trafficOf(wide)).toBe(0);
  expect(trafficOf(s.map('exp', s.map('neg', wide)))).toBe(4 * (3 + 3));
  expect(trafficOf(s.map('neg', wide))).toBe(4 * (3 + 3));
  expect(trafficOf(s.gather(table, index, 'v'))).toBe(4 * (2 * 6 * 4 + 6));
});

test('sizes with symbols count at their bound', () => {
  const graph = trace(
    sourceOf(() => [4, 4]),
    (t) => ({ y: t.input('x', 'n c', { n: t.symbol('n', { upTo: 10 }), c: 4 }).mul(2) }),
  );
  expect(graphCost(graph)).toEqual({ flops: 40, bytes: 4 * (40 + 1 + 40) });
});

test("one SVA layer at the released size costs what the paper's code does, context hoisted", () => {
  const [c, queries] = [1024, 576];
  const source = sourceOf((path) =>
    path.endsWith('proj_in.weight')
      ? [c, 2 * c]
      : path.includes('pos_embed')
        ? [16, c]
        : /(_proj(_\d)?\.0|norm)\.(weight|bias)$/.test(path)
          ? [c]
          : [c, c],
  );
  const graph = trace(source, (t) => {
    const regions = [1, 1, 1, 16].map((size, k) => t.input(`x${k}`, 'b q t c', { b: 1, q: queries, t: size, c }));
    return {
      y: visionCrossAttentionLayer(t.params, t.input('q', 'b q c', { b: 1, q: queries, c }), {
        context: t.input('g', 'b c', { b: 1, c }),
        regions,
      }),
    };
  });
  const products = order(graph).filter((node) => node.op.kind === 'contract');
  const gflop = (nodes: readonly Node[]) => nodes.reduce((sum, node) => sum + flopsOf(node), 0) / 1e9;
  // 54.40 G as coded, of which the context's projection for every query is 1.208 G and once per image 0.002 G.
  expect(gflop(products)).toBeCloseTo(54.4 - 1.208 + 0.002, 1);
  const keys = products.filter(
    (node) => /k_proj_\d\.1$/.test(node.origin.path) && axisOf(node.type.axes, 't') !== undefined,
  );
  expect(gflop(keys)).toBeCloseTo(22.951, 2);
});
