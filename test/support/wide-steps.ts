// Steps that make more operands and results than a device binds in one kernel.
import { sizeBound, type Axis } from '../../dsl/axis/axis.ts';
import type { Draw, Made, Making } from './generate.ts';
import {
  aFloat,
  axesOf,
  binary,
  concat,
  contract,
  dtypeOf,
  layerNorm,
  op,
  rearrange,
  reduction,
  scalar,
  slice,
  softmaxOf,
  unary,
  update,
  type Step,
} from './generate-steps.ts';

/** New tensors that differ in values, and along `axis` in size. */
function alike(
  m: Making,
  draw: Draw,
  count: number,
  axes: readonly Axis[],
  along?: string,
): readonly (Made | undefined)[] {
  return Array.from({ length: count }, () =>
    m.fresh(
      draw,
      'f32',
      axes.map((a) => (a.name === along ? { name: a.name, size: draw.of([1, 2, 3, 4]) } : a)),
    ),
  );
}

const many = (draw: Draw): number => 7 + draw.below(16);

/** Small enough that many stay under the limit of elements together. */
const smallAxes = (m: Making, draw: Draw): readonly Axis[] => {
  const small = m.pool.filter((axis) => sizeBound(axis.size) <= 8);
  return small.length === 0 ? [{ name: 'a', size: 3 }] : [draw.of(small)];
};

/** One axis of the same name for all parts of a concatenation, with a second one in front now and then. */
const manyParts: Step = (m, draw) => {
  const along = { name: 'z', size: 1 };
  const axes = draw.chance(2) ? [...smallAxes(m, draw), along] : [along, ...smallAxes(m, draw)];
  const parts = alike(m, draw, many(draw), axes, 'z');
  const some = draw.chance(2) ? parts.map((part, i) => (i % 3 === 0 ? op(m, 'neg', [part]) : part)) : parts;
  return op(m, 'concat', some, { axis: 'z' });
};

/** a + b + c + …, some of them through a map of their own. */
const manyTerms: Step = (m, draw) =>
  alike(m, draw, many(draw), smallAxes(m, draw)).reduce((sum, term) =>
    op(m, 'add', [sum, draw.chance(3) ? op(m, 'neg', [term]) : term]),
  );

/** Σ (x̂·γ + β), each with its own γ and β. */
const manyNorms: Step = (m, draw) => {
  const normed = layerNorm(m, draw);
  const axis = normed === undefined ? undefined : axesOf(normed).find((a) => typeof a.size === 'number');
  if (normed === undefined || axis === undefined) return undefined;
  const terms = Array.from({ length: 3 + draw.below(5) }, () => {
    const [gamma, beta] = [m.fresh(draw, dtypeOf(normed), [axis]), m.fresh(draw, dtypeOf(normed), [axis])];
    return op(m, 'add', [op(m, 'mul', [normed, gamma]), beta]);
  });
  return terms.reduce((sum, term) => op(m, 'add', [sum, term]));
};

/** Products of one tensor with many weights, joined or added. */
const manyProducts: Step = (m, draw) => {
  const [rows, inner, columns] = m.pool.filter((axis) => typeof axis.size === 'number');
  if (rows === undefined || inner === undefined || columns === undefined) return undefined;
  const x = m.fresh(draw, 'f32', [rows, inner]);
  const products = alike(m, draw, many(draw), [columns, inner]).map((weight) =>
    op(m, 'contract', [x, weight], { axes: [rows.name, columns.name] }),
  );
  return draw.chance(2)
    ? op(m, 'concat', products, { axis: columns.name })
    : products.reduce((sum, product) => op(m, 'add', [sum, product]));
};

/** Two results of one kernel that are parts of one concatenation, along whose last axis they are not whole vectors. */
const partsOfOneKernel: Step = (m, draw) => {
  const x = aFloat(m, draw, 1);
  const axis = x === undefined ? undefined : axesOf(x).at(-1);
  if (x === undefined || axis === undefined) return undefined;
  const normed = softmaxOf(m, x, axis.name);
  const parts = [normed, op(m, 'neg', [normed]), op(m, 'exp', [normed])].slice(0, 2 + draw.below(2));
  const odd = m.fresh(
    draw,
    dtypeOf(x),
    axesOf(x).map((a) => (a === axis ? { ...a, size: draw.of([1, 4, 3]) } : a)),
  );
  return op(m, 'concat', draw.chance(2) ? [odd, ...parts] : [...parts.slice(0, 1), odd, ...parts.slice(1)], {
    axis: draw.chance(3) ? (axesOf(x)[0]?.name ?? axis.name) : axis.name,
  });
};

/** Rows of many tensors of one shape, and norms of one tensor under names of their own: horizontal fusion puts them together. */
const manyRows: Step = (m, draw) => {
  const axes = m.pool.filter((axis) => typeof axis.size === 'number').slice(0, 2);
  const [row, inner] = axes;
  if (row === undefined || inner === undefined) return undefined;
  const shared = draw.chance(2) ? m.fresh(draw, 'f32', axes) : undefined;
  const results = alike(m, draw, 3 + draw.below(8), axes).map((x) =>
    softmaxOf(m, shared === undefined ? x : op(m, 'mul', [shared, x]), inner.name),
  );
  return results.includes(undefined) ? undefined : results.at(-1);
};

/** A training step in small: gradients of several weights by the same rows, each weight and its momentum written over in place. */
const manyWeights: Step = (m, draw) => {
  const [rows, inner, columns] = m.pool.filter((axis) => typeof axis.size === 'number');
  if (m.options.updates === false || rows === undefined || inner === undefined || columns === undefined)
    return undefined;
  const x = m.fresh(draw, 'f32', [rows, inner]);
  const axes = [inner, columns];
  const count = sizeBound(inner.size) * sizeBound(columns.size);
  let last: Made | undefined;
  for (let i = 2 + draw.below(5); i > 0; i--) {
    const [weight, momentum] = [0, 1].map(() => m.leaf('state', draw, 'f32', axes, m.numbers(count, 'f32')));
    const up = m.fresh(draw, 'f32', [rows, columns]);
    const gradient = op(m, 'contract', [x, up], { axes: axes.map((axis) => axis.name) });
    const moved = op(m, 'sub', [op(m, 'mul', [momentum, scalar(m, 0.5, 'f32')]), gradient]);
    last = op(m, 'add', [weight, moved]);
    if (weight === undefined || momentum === undefined || moved === undefined || last === undefined) return undefined;
    m.update({ state: momentum.node, value: moved.node, at: new Map() });
    m.update({ state: weight.node, value: last.node, at: new Map() });
  }
  return last;
};

/** Wide steps, and what surrounds them. */
export const wideSteps: readonly Step[] = [
  manyParts,
  manyTerms,
  manyNorms,
  manyProducts,
  manyRows,
  manyWeights,
  partsOfOneKernel,
  partsOfOneKernel,
  unary,
  binary,
  concat,
  reduction,
  rearrange,
  contract,
  slice,
  update,
];
