// Gradients where sizes are known in a run only: of resize and of multi-head attention. At every size they are what differences say, and
// what the graph of those numbers gives.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gradientGraph } from '../../../dsl/gradient/gradient-graph.ts';
import {
  fixedParams,
  multiHeadAttention,
  reduce,
  resize,
  tanh,
  trace,
  type Graph,
  type ParamSource,
  type ResizeOptions,
  type Size,
  type Tensor,
  type Trace,
} from '../../../dsl/index.ts';
import { everything } from '../../support/share.ts';
import { numbers } from '../run.ts';
import { compareWithDifferences, leavesOf, valuesOf } from './differences.ts';

const seed = Number(process.env['OPABINIA_SEED'] ?? 20261);
const most = 4;

/** A size in a run, and whether the graph knows it. */
interface Extent {
  readonly size: number;
  readonly open: boolean;
}
const extent = fc.record({ size: fc.integer({ min: 1, max: most }), open: fc.boolean() });
type Extents = Readonly<Record<string, Extent>>;
type SizeOf = (name: string) => Size;

/** Gradients for every float leaf, of symbols as of numbers. The loss is Σ tanh(y)·cos of the weight, so that every element counts for itself. */
function hold(extents: Extents, source: ParamSource, build: (t: Trace, sizeOf: SizeOf) => Tensor): void {
  const lossOf = (isOpen: boolean): Graph =>
    trace(source, (t) => {
      const y = build(t, (name) => {
        const { size = 1, open = false } = extents[name] ?? {};
        return isOpen && open ? t.symbol(name, { upTo: most }) : size;
      });
      const names = y.axes.map((axis) => axis.name).join(' ');
      const weights = t.input<string, 'f32'>(
        'weights',
        names,
        Object.fromEntries(y.axes.map((axis) => [axis.name, axis.size])),
      );
      return { loss: reduce(tanh(y).mul(weights), `${names} ->` as string as never, 'sum') };
    });
  const [open, closed] = [lossOf(true), lossOf(false)];
  const symbols = new Map(Object.entries(extents).map(([name, { size }]) => [name, size]));
  const leaves = [...leavesOf(open, symbols)].filter(([, leaf]) => leaf.float);
  const values = new Map(leaves.map(([name, { count }], i) => [name, Float64Array.from(numbers(count, i + 1))]));
  const wrt = leaves.map(([name]) => name).filter((name) => name !== 'weights');
  // Parameters have no size of a run: for them the graph of numbers suffices.
  const inputs = wrt.filter((name) => source.shape(name) === undefined);
  for (const { name, element, gradient, difference, allowed } of compareWithDifferences(open, 'loss', inputs, values, {
    symbols,
  }))
    expect(
      Math.abs(gradient - difference),
      `${name}[${element}]: ${gradient}, differences say ${difference}`,
    ).toBeLessThanOrEqual(allowed);
  const [got, want] = [open, closed].map((graph) => valuesOf(gradientGraph(graph, 'loss', wrt), values, symbols));
  for (const name of wrt) {
    const expected = want?.get(`d ${name}`) ?? new Float64Array();
    expect(got?.get(`d ${name}`)?.length, name).toBe(expected.length);
    expected.forEach((value, i) => expect(Math.abs((got?.get(`d ${name}`)?.[i] ?? NaN) - value)).toBeLessThan(1e-11));
  }
}

describe('gradients with symbolic sizes', () => {
  const modes = fc.oneof(
    fc.record({ mode: fc.constant('bilinear' as const), alignCorners: fc.boolean() }),
    fc.record({ mode: fc.constantFrom('bilinear' as const, 'bicubic' as const), antialias: fc.boolean() }),
    fc.record({
      mode: fc.constantFrom('bilinear' as const, 'bicubic' as const),
      antialias: fc.boolean(),
      factors: fc.constant([0.6, 1.7] as const),
    }),
  );
  test('of resize, from and to sizes of a run', { timeout: 300_000 }, () => {
    fc.assert(
      fc.property(
        modes,
        fc
          .record({ h: extent, w: extent, p: extent, q: extent })
          .filter((sizes) => Object.values(sizes).some(({ open }) => open)),
        (chosen, sizes) =>
          hold(sizes, fixedParams({}), (t, sizeOf) => {
            const options: ResizeOptions = { ...chosen, height: sizeOf('p'), width: sizeOf('q') };
            return resize(t.input('x', 'b h w c', { b: 1, h: sizeOf('h'), w: sizeOf('w'), c: 1 }), options);
          }),
      ),
      { seed, numRuns: everything ? 60 : 8 },
    );
  });

  const [heads, width] = [2, 4];
  const one = (count: number, at: number, ...shape: number[]) => ({ shape, values: numbers(count, at) });
  const params = fixedParams({
    in_proj_weight: one(3 * width * width, 21, 3 * width, width),
    in_proj_bias: one(3 * width, 22, 3 * width),
    'out_proj.weight': one(width * width, 23, width, width),
    'out_proj.bias': one(width, 24, width),
  });
  test('of multi-head attention, over queries and keys of a run, masked and not', { timeout: 300_000 }, () => {
    fc.assert(
      fc.property(
        fc.record({ b: extent, n: extent, s: extent }).filter(({ b, n, s }) => b.open || n.open || s.open),
        fc.constantFrom('none' as const, 'causal' as const, 'added' as const),
        (sizes, mask) => {
          // A causal mask is of the last queries of as many keys at least.
          const s = mask === 'causal' ? { ...sizes.s, size: Math.max(sizes.s.size, sizes.n.size) } : sizes.s;
          hold({ ...sizes, s }, params, (t, sizeOf) => {
            const query = t.input('q', 'b n c', { b: sizeOf('b'), n: sizeOf('n'), c: width });
            const key = t.input('k', 'b s c', { b: sizeOf('b'), s: sizeOf('s'), c: width });
            const value = t.input('v', 'b s c', { b: sizeOf('b'), s: sizeOf('s'), c: width });
            const added = mask === 'added' ? t.input('m', 'n s', { n: sizeOf('n'), s: sizeOf('s') }) : undefined;
            return multiHeadAttention(t.params, query, key, value, {
              heads,
              key: 's',
              along: 'c',
              mask: added,
              causal: mask === 'causal',
            });
          });
        },
      ),
      { seed, numRuns: everything ? 30 : 5 },
    );
  });
});
