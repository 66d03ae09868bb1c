// Recognises what the composites of the DSL are made of: softmax, norms, activations. Pure looks at nodes; nothing is rewritten.
import { axisOf, type Axis } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import { scalarValue } from '../rewrite/rules.ts';

/** e^(s − max s) / Σ e^(s − max s) along one axis; casts behind it belong to it. */
export interface Softmax {
  readonly logits: Node;
  readonly axis: string;
  /** The largest logit, and the sum of the powers. */
  readonly largest: Node;
  readonly total: Node;
  /** Everything from the result down to the largest logit, without the logits. */
  readonly nodes: readonly Node[];
}

export function matchSoftmax(node: Node): Softmax | undefined {
  const casts: Node[] = [];
  let quotient = node;
  while (quotient.op.name === 'cast' && quotient.inputs[0] !== undefined) {
    casts.push(quotient);
    quotient = quotient.inputs[0];
  }
  if (quotient.op.name !== 'div') return undefined;
  const [powers, total] = quotient.inputs;
  if (powers?.op.name !== 'exp' || total?.op.name !== 'sum' || total.inputs[0] !== powers) return undefined;
  const difference = powers.inputs[0];
  if (difference?.op.name !== 'sub') return undefined;
  const [logits, top] = difference.inputs;
  if (logits === undefined || top?.op.name !== 'reduceMax' || top.inputs[0] !== logits) return undefined;
  const axes = reducedAxes(total);
  const [axis] = axes;
  if (axis === undefined || axes.length !== 1 || reducedAxes(top).join() !== axis) return undefined;
  return { logits, axis, largest: top, total, nodes: [...casts, quotient, powers, total, difference, top] };
}

/** (x − mean) / √(variance + eps) · weight + bias, or x / √(mean x² + eps) · weight, along one axis of fixed size. */
export interface Norm {
  readonly kind: 'layer' | 'rms';
  readonly x: Node;
  readonly axis: Axis;
  readonly eps: number;
  /** Along the axis alone. */
  readonly weight: Node | undefined;
  readonly bias: Node | undefined;
  readonly nodes: readonly Node[];
}

/** The norm that ends in this node, with as much of its affine part as stands before the node. */
export function matchNorm(node: Node): Norm | undefined {
  if (node.op.name === 'add') {
    return firstOf(swaps(node), ([scaled, bias]) => {
      const inner = matchScaled(scaled);
      return inner !== undefined && inner.weight !== undefined && isAlong(bias, inner.axis)
        ? { ...inner, bias, nodes: [node, ...inner.nodes] }
        : undefined;
    });
  }
  return matchScaled(node);
}

function matchScaled(node: Node): Norm | undefined {
  const bare = matchStandardized(node);
  if (bare !== undefined) return bare;
  return firstOf(node.op.name === 'mul' ? swaps(node) : [], ([inner, weight]) => {
    const norm = matchStandardized(inner);
    return norm !== undefined && isAlong(weight, norm.axis)
      ? { ...norm, weight, nodes: [node, ...norm.nodes] }
      : undefined;
  });
}

/** centred · rsqrt(mean(centred²) + eps) */
function matchStandardized(node: Node): Norm | undefined {
  return firstOf(node.op.name === 'mul' ? swaps(node) : [], ([centred, factor]) => {
    const shifted = factor.op.name === 'rsqrt' ? factor.inputs[0] : undefined;
    if (shifted?.op.name !== 'add') return undefined;
    return firstOf(swaps(shifted), ([variance, constant]) => {
      const eps = scalarValue(constant);
      const square = eps === undefined ? undefined : matchMean(variance);
      if (eps === undefined || square?.of.op.name !== 'mul' || square.of.inputs.some((input) => input !== centred))
        return undefined;
      const mean =
        centred.op.name === 'sub' && centred.inputs[1] !== undefined ? matchMean(centred.inputs[1]) : undefined;
      const x = centred.inputs[0];
      const own = [node, factor, shifted, ...square.nodes, square.of];
      const common = { axis: square.axis, eps, weight: undefined, bias: undefined };
      if (mean !== undefined && x !== undefined && mean.of === x && mean.axis.name === square.axis.name)
        return { kind: 'layer', x, ...common, nodes: [...own, centred, ...mean.nodes] };
      return { kind: 'rms', x: centred, ...common, nodes: own };
    });
  });
}

/** Σ y · 1/n along one axis of n elements. */
function matchMean(
  node: Node,
): { readonly of: Node; readonly axis: Axis; readonly nodes: readonly Node[] } | undefined {
  return firstOf(node.op.name === 'mul' ? swaps(node) : [], ([total, constant]) => {
    const of = total.inputs[0];
    const [name, ...more] = reducedAxes(total);
    const axis = of === undefined || name === undefined ? undefined : axisOf(of.type.axes, name);
    const factor = scalarValue(constant);
    if (
      total.op.name !== 'sum' ||
      of === undefined ||
      axis === undefined ||
      more.length > 0 ||
      factor === undefined ||
      typeof axis.size !== 'number'
    )
      return undefined;
    return near(factor, 1 / axis.size) ? { of, axis, nodes: [node, total] } : undefined;
  });
}

/** Σ x, Σ x², or Σ (x − around)² along one axis, in single precision. */
export interface RowMoment {
  readonly kind: 'sum' | 'squares' | 'deviations';
  /** Of half precision where it is widened first. */
  readonly x: Node;
  readonly axis: string;
  /** Of deviations alone. */
  readonly around: Node | undefined;
}

/** Undefined for any other reduction. */
export function matchRowMoment(reduction: Node): RowMoment | undefined {
  const [operand] = reduction.inputs;
  const [axis, ...more] = reducedAxes(reduction);
  if (reduction.op.name !== 'sum' || operand === undefined || axis === undefined || more.length > 0) return undefined;
  if (reduction.type.dtype !== 'f32') return undefined;
  const [factor, ...others] = operand.inputs;
  const isSquare = operand.op.name === 'mul' && factor !== undefined && others.every((other) => other === factor);
  if (!isSquare) return { kind: 'sum', x: narrow(operand), axis, around: undefined };
  const [x, around] = factor.inputs;
  const isDeviation =
    factor.op.name === 'sub' && x !== undefined && around !== undefined && axisOf(around.type.axes, axis) === undefined;
  return isDeviation
    ? { kind: 'deviations', x: narrow(x), axis, around }
    : { kind: 'squares', x: narrow(factor), axis, around: undefined };
}

/** What is widened, as it is stored. */
function narrow(node: Node): Node {
  const [x] = node.inputs;
  return node.op.name === 'cast' && x?.type.dtype === 'f16' ? x : node;
}

/** x·Φ(x) by erf, by tanh, or x·sigmoid(alpha·x). */
export interface Activation {
  readonly kind: 'gelu' | 'geluTanh' | 'sigmoid';
  readonly alpha: number;
  readonly x: Node;
  readonly nodes: readonly Node[];
}

export function matchActivation(node: Node): Activation | undefined {
  return firstOf(node.op.name === 'mul' ? swaps(node) : [], ([left, right]) => {
    if (right.op.name === 'sigmoid') {
      const inside = right.inputs[0];
      if (inside === left) return { kind: 'sigmoid', alpha: 1, x: left, nodes: [node, right] };
      const scaled = inside === undefined ? undefined : scaledBy(inside);
      return scaled?.x === left && inside !== undefined
        ? { kind: 'sigmoid', alpha: scaled.by, x: left, nodes: [node, right, inside] }
        : undefined;
    }
    const half = scaledBy(left);
    const one =
      right.op.name === 'add'
        ? firstOf(swaps(right), ([inner, constant]) => (scalarValue(constant) === 1 ? inner : undefined))
        : undefined;
    const argument = one?.inputs[0];
    if (half?.by !== 0.5 || one === undefined || argument === undefined) return undefined;
    const scaled = scaledBy(argument);
    if (scaled === undefined) return undefined;
    const outer = [node, left, right, one, argument];
    if (one.op.name === 'erf' && scaled.x === half.x && near(scaled.by, Math.SQRT1_2))
      return { kind: 'gelu', alpha: 1, x: half.x, nodes: outer };
    const cubic =
      one.op.name === 'tanh' && near(scaled.by, Math.sqrt(2 / Math.PI)) ? matchCubic(scaled.x, half.x) : undefined;
    return cubic === undefined ? undefined : { kind: 'geluTanh', alpha: 1, x: half.x, nodes: [...outer, ...cubic] };
  });
}

/** x + 0.044715·x³ */
function matchCubic(node: Node, x: Node): readonly Node[] | undefined {
  return firstOf(node.op.name === 'add' ? swaps(node) : [], ([plain, term]) => {
    const scaled = scaledBy(term);
    if (plain !== x || scaled === undefined || !near(scaled.by, 0.044715) || scaled.x.op.name !== 'mul')
      return undefined;
    const cube = scaled.x;
    const square = firstOf(swaps(cube), ([inner, factor]) =>
      factor === x && inner.op.name === 'mul' && inner.inputs.every((input) => input === x) ? inner : undefined,
    );
    return square === undefined ? undefined : [node, term, cube, square];
  });
}

// ---- small looks ------------------------------------------------------------------------------------------------

type Pair = readonly [Node, Node];

/** Both orders of the operands of a commutative op. */
function swaps(node: Node): readonly Pair[] {
  const [a, b] = node.inputs;
  return a === undefined || b === undefined
    ? []
    : [
        [a, b],
        [b, a],
      ];
}

function firstOf<T>(pairs: readonly Pair[], match: (pair: Pair) => T | undefined): T | undefined {
  for (const pair of pairs) {
    const found = match(pair);
    if (found !== undefined) return found;
  }
  return undefined;
}

function scaledBy(node: Node): { readonly x: Node; readonly by: number } | undefined {
  return firstOf(node.op.name === 'mul' ? swaps(node) : [], ([x, constant]) => {
    const by = scalarValue(constant);
    return by === undefined ? undefined : { x, by };
  });
}

function isAlong(node: Node, axis: Axis): boolean {
  return node.type.axes.length === 1 && node.type.axes[0]?.name === axis.name;
}

/** Equal up to the rounding of a constant to f16. */
function near(value: number, wanted: number): boolean {
  return Math.abs(value - wanted) <= 2 ** -10 * Math.abs(wanted);
}
