// Composites as the operators that ONNX Runtime has fused kernels for.
import { namesOf } from '../../dsl/axis/axes.ts';
import { axisOf, printSize, type Axis, type Size } from '../../dsl/axis/axis.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { findAttention, isClosed } from '../match/attention/attention.ts';
import { matchActivation, matchNorm, matchSoftmax, type Norm } from '../match/composites.ts';
import type { ScoreStep } from '../match/attention/score-path.ts';
import { isFixed } from '../rewrite/fixed.ts';
import { convAt } from './fused-conv.ts';
import type { NodeExporter } from './node-exporter.ts';
import { elementOf } from './maps.ts';
import { type Value } from './ordered-tensor.ts';
import { contrib } from './writer.ts';
import type { Fused } from './fused-operator.ts';

/** Who reads a node, and whether its value is asked for outside of the graph. */
export interface Surroundings {
  readonly readers: (node: Node) => readonly Node[];
  readonly leaves: (node: Node) => boolean;
}

/** The composite that ends in this node. */
export function fusedAt(node: Node, around: Surroundings): Fused | undefined {
  if (node.type.dtype === 'bf16') return undefined;
  switch (node.op.kind) {
    case 'contract':
      return attentionAt(node, around) ?? convAt(node);
    case 'reduce':
      return convAt(node);
    case 'map':
      return normAt(node) ?? activationAt(node) ?? softmaxAt(node);
    default:
      return undefined;
  }
}

// ---- norms, activations, softmax -----------------------------------------------------------------------------------

/** `x` of a cast from f16 to f32: the fused kernels compute in f32 inside. */
function narrow(node: Node | undefined): Node | undefined {
  const inner = node?.op.name === 'cast' && node.type.dtype === 'f32' ? node.inputs[0] : undefined;
  return inner?.type.dtype === 'f16' ? inner : undefined;
}

function normAt(node: Node): Fused | undefined {
  const inside = node.op.name === 'cast' && node.type.dtype === 'f16' ? node.inputs[0] : undefined;
  if (inside === undefined) {
    const norm = matchNorm(node);
    return norm === undefined ? undefined : fusedNorm(norm, norm.nodes);
  }
  const norm = matchNorm(inside);
  if (norm === undefined) return undefined;
  const [x, weight, bias] = [narrow(norm.x), narrow(norm.weight), narrow(norm.bias)];
  if (
    x === undefined ||
    (norm.weight !== undefined && weight === undefined) ||
    (norm.bias !== undefined && bias === undefined)
  )
    return undefined;
  return fusedNorm({ ...norm, x, weight, bias }, [node, ...norm.nodes]);
}

function fusedNorm(norm: Norm, nodes: readonly Node[]): Fused {
  const { x, weight, bias } = norm;
  const sum = residual(norm);
  return {
    operands: [
      ...(sum?.inputs ?? [x]),
      ...(weight === undefined ? [] : [weight]),
      ...(bias === undefined ? [] : [bias]),
    ],
    nodes,
    sum,
    lower: (exporter, node) => {
      const { writer } = exporter;
      const last = (value: Value): Value =>
        exporter.permutations.inOrder(value, [
          ...namesOf(value.axes).filter((name) => name !== norm.axis.name),
          norm.axis.name,
        ]);
      const width = Number(norm.axis.size);
      const scale =
        weight === undefined
          ? writer.constant(elementOf[x.type.dtype], [width], new Float32Array(width).fill(1))
          : exporter.value(weight).tensor;
      const offset = bias === undefined ? [] : [exporter.value(bias).tensor];
      if (sum === undefined || exporter.has(sum)) {
        const value = last(exporter.value(x));
        const tensor =
          norm.kind === 'layer'
            ? writer.emit('LayerNormalization', [value.tensor, scale, ...offset], { axis: -1n, epsilon: norm.eps })
            : rmsNormed(exporter, value.tensor, scale, { eps: norm.eps, isNarrow: x.type.dtype === 'f16' });
        exporter.set(node, { tensor, axes: value.axes });
        return;
      }
      const [a, b] = sum.inputs.map((input) => exporter.value(input));
      if (a === undefined || b === undefined) throw new TypeError('a sum has two operands');
      const left = last(a);
      const right = exporter.permutations.inOrder(b, namesOf(left.axes));
      const skip = norm.kind === 'layer' ? 'SkipLayerNormalization' : 'SkipSimplifiedLayerNormalization';
      const [normed = '', , , added = ''] = writer.emitSeveral(
        skip,
        [left.tensor, right.tensor, scale, ...offset],
        4,
        { epsilon: norm.eps },
        contrib,
        (output) => output === 0 || output === 3,
      );
      exporter.set(sum, { tensor: added, axes: left.axes });
      exporter.set(node, { tensor: normed, axes: left.axes });
    },
  };
}

/**
 * Over the last axis, as ONNX Runtime knows it again and has one kernel for it. ONNX itself has no operator for it below opset 23, and ONNX
 * Runtime's own name for it, in ONNX's domain, no other program knows.
 */
function rmsNormed(
  { writer }: NodeExporter,
  x: string,
  scale: string,
  { eps, isNarrow }: { readonly eps: number; readonly isNarrow: boolean },
): string {
  const wide = (value: string): string =>
    isNarrow ? writer.emit('Cast', [value], { to: BigInt(elementOf.f32) }) : value;
  const number = (value: number): string => writer.constant(elementOf.f32, [], [value]);
  const long = wide(x);
  const mean = writer.emit('ReduceMean', [writer.emit('Pow', [long, number(2)]), writer.ints([-1])], { keepdims: 1n });
  const root = writer.emit('Sqrt', [writer.emit('Add', [mean, number(eps)])]);
  const y = writer.emit('Mul', [writer.emit('Div', [long, root]), wide(scale)]);
  return isNarrow ? writer.emit('Cast', [y], { to: BigInt(elementOf.f16) }) : y;
}

/** The sum in front of a norm, when the operator for both takes it: three axes, two operands of the same shape. */
function residual({ x, weight, bias }: Norm): Node | undefined {
  const [a, b] = x.inputs;
  if (
    x.op.name !== 'add' ||
    x.type.axes.length !== 3 ||
    weight === undefined ||
    !isFixed(weight) ||
    a === undefined ||
    b === undefined ||
    (bias !== undefined && !isFixed(bias))
  )
    return undefined;
  return [a, b].every((input) => input.op.name !== 'broadcast' && input.type.axes.length === 3) ? x : undefined;
}

function activationAt(node: Node): Fused | undefined {
  const found = matchActivation(node);
  if (found === undefined) return undefined;
  const { kind, alpha, x } = found;
  return {
    operands: [x],
    nodes: found.nodes,
    lower: (exporter) => {
      const value = exporter.value(x);
      const { writer } = exporter;
      const tensor =
        kind === 'sigmoid'
          ? writer.emit('QuickGelu', [value.tensor], { alpha }, contrib)
          : writer.emit('Gelu', [value.tensor], kind === 'geluTanh' ? { approximate: 'tanh' } : {});
      exporter.set(node, { ...value, tensor });
    },
  };
}

function softmaxAt(node: Node): Fused | undefined {
  const found = matchSoftmax(node);
  if (found === undefined || (found.nodes[0]?.op.name === 'cast' && node.type.dtype !== 'f16')) return undefined;
  const casts = found.nodes.filter((inner) => inner.op.name === 'cast');
  const logits = casts.length === 0 ? found.logits : narrow(found.logits);
  if (logits === undefined || casts.length > 1) return undefined;
  return {
    operands: [logits],
    nodes: found.nodes,
    lower: (exporter) => {
      const value = exporter.value(logits);
      const axis = value.axes.findIndex((other) => other.name === found.axis);
      exporter.set(node, { ...value, tensor: exporter.writer.emit('Softmax', [value.tensor], { axis: BigInt(axis) }) });
    },
  };
}

// ---- attention -----------------------------------------------------------------------------------------------------

/** What happens to the scores before the softmax: multiplied by `scale`, then masked and shifted. */
interface Logits {
  readonly scale: number;
  readonly steps: readonly Step[];
}

type Step =
  | { readonly kind: 'add'; readonly bias: Node }
  | { readonly kind: 'where'; readonly mask: Node; readonly low: number };

function readLogits(path: readonly ScoreStep[]): Logits | undefined {
  let scale = 1;
  let scaled = false;
  const steps: Step[] = [];
  for (const step of path) {
    if (step.kind === 'cast') continue;
    if (step.kind === 'scale') {
      scale *= step.by;
      scaled = true;
      // The operator multiplies first: what is added before a multiplication has no place in it.
    } else if (scaled || step.kind === 'other') return undefined;
    else if (step.kind === 'mask') {
      if (!step.keeps || step.low > -1e30) return undefined;
      steps.push({ kind: 'where', mask: step.mask, low: step.low });
    } else steps.push({ kind: 'add', bias: step.bias });
  }
  return { scale, steps: steps.toReversed() };
}

function attentionAt(product: Node, around: Surroundings): Fused | undefined {
  const found = findAttention(product, around.leaves);
  if (found === undefined || !isClosed(found, around.readers) || !isFloat(product.type.dtype)) return undefined;
  const { query, key, value, batch, rows, keys, depth, width } = found;
  const logits = readLogits(found.steps);
  const everywhere = batch.every((axis) =>
    [query, key, value].every((x) => axisOf(x.type.axes, axis.name) !== undefined),
  );
  const complete = query.type.axes.length === batch.length + rows.length + depth.length;
  // A mask of f16 cannot hold a number that wipes out any score.
  if (
    logits === undefined ||
    !everywhere ||
    !complete ||
    rows.length === 0 ||
    (product.type.dtype === 'f16' && logits.steps.length > 0)
  )
    return undefined;
  const heads = batch.findLast((axis) => typeof axis.size === 'number');
  const outer = batch.filter((axis) => axis !== heads);
  const inner = heads === undefined ? [] : [heads];
  return {
    operands: [query, key, value, ...logits.steps.map((step) => (step.kind === 'add' ? step.bias : step.mask))],
    nodes: [...found.nodes],
    lower: (exporter, node) => {
      const { writer, permutations } = exporter;
      const q = permutations.grouped(exporter.value(query), [outer, rows, [...inner, ...depth]]);
      const k = permutations.grouped(exporter.value(key), [outer, keys, [...inner, ...depth]]);
      const v = permutations.grouped(exporter.value(value), [outer, keys, [...inner, ...width]]);
      const bias = attentionBias(exporter, logits, { outer, inner, rows, keys });
      const tensor = writer.emit(
        'MultiHeadAttention',
        bias === undefined ? [q, k, v] : [q, k, v, '', '', bias],
        { num_heads: BigInt(Number(heads?.size ?? 1)), scale: logits.scale },
        contrib,
      );
      const axes = [...outer, ...rows, ...inner, ...width];
      const flat = outer.length === 1 && rows.length === 1 && inner.length === 0;
      exporter.set(node, {
        tensor: flat
          ? tensor
          : writer.reshape(
              tensor,
              axes.map((axis) => [axis.size]),
            ),
        axes,
      });
    },
  };
}

interface Grid {
  readonly outer: readonly Axis[];
  readonly inner: readonly Axis[];
  readonly rows: readonly Axis[];
  readonly keys: readonly Axis[];
}

/** What is added to the scores, of four axes: batch, heads, rows, keys; the first two are 1 where nothing depends on them. */
function attentionBias(
  exporter: NodeExporter,
  { steps }: Logits,
  { outer, inner, rows, keys }: Grid,
): string | undefined {
  if (steps.length === 0) return undefined;
  const sources = steps.map((step) => exporter.value(step.kind === 'add' ? step.bias : step.mask));
  // Layers share their mask, and so what is added to their scores.
  const key = `bias ${sources.map((source) => source.tensor).join()} ${steps.map((step) => (step.kind === 'add' ? '' : step.low)).join()} ${[outer, inner, rows, keys].map((axes) => axes.map((axis) => `${axis.name}:${printSize(axis.size)}`).join()).join(';')}`;
  return exporter.once(key, () => writeBias(exporter, steps, sources, { outer, inner, rows, keys }));
}

function writeBias(
  { writer, permutations }: NodeExporter,
  steps: readonly Step[],
  sources: readonly Value[],
  { outer, inner, rows, keys }: Grid,
): string {
  const used = (axes: readonly Axis[]): readonly Axis[] =>
    axes.some((axis) => sources.some((source) => axisOf(source.axes, axis.name) !== undefined)) ? axes : [];
  const axes = [...used(outer), ...used(inner), ...rows, ...keys];
  const thin = (value: Value): string => permutations.aligned(value, namesOf(axes), true);
  let sum: string | undefined;
  for (const [i, step] of steps.entries()) {
    const source = sources[i];
    if (source === undefined) continue;
    if (step.kind === 'add') sum = sum === undefined ? thin(source) : writer.emit('Add', [sum, thin(source)]);
    else
      sum = writer.emit('Where', [
        thin(source),
        sum ?? writer.constant(elementOf.f32, [], [0]),
        writer.constant(elementOf.f32, [], [step.low]),
      ]);
  }
  if (sum === undefined) throw new TypeError('a bias of no steps');
  const full = axes.every((axis) => sources.some((source) => axisOf(source.axes, axis.name) !== undefined))
    ? sum
    : writer.emit('Expand', [sum, writer.sizes(axes.map((axis) => axis.size))]);
  const group = (part: readonly Axis[]): readonly Size[] => used(part).map((axis) => axis.size);
  const shape = [group(outer), group(inner), rows.map((axis) => axis.size), keys.map((axis) => axis.size)];
  return shape.every((part) => part.length === 1) ? full : writer.reshape(full, shape);
}
