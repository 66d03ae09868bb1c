// Reverse mode, graph to graph: from the loss backwards, each node hands the gradient of its value on to its operands.
import { printAxes } from '../axis/axis.ts';
import { OpabiniaError } from '../error.ts';
import { describe, roleOf, type Builder, type Node } from '../graph/graph.ts';
import { isFloat, type DType } from '../graph/op.ts';
import { orderFrom } from '../graph/walk.ts';
import { at, here } from '../origin.ts';
import { refusal, Tensor, requireTensor } from '../tensor.ts';
import { BackwardMath } from './backward-math.ts';
import { Replays } from './recompute.ts';
import { noRule, vjp } from './vjp.ts';
import { requireList } from '../graph/required.ts';

export interface GradientOptions {
  /** What a tensor gets that the loss does not depend on: an error that names it (the default), or zeros. */
  readonly unused?: 'error' | 'zeros';
}

/**
 * dloss/dx for each tensor x of `wrt`, with the axes and dtype of x. The result is made of the same ops as every graph: it fuses, runs on
 * the interpreter, and has gradients itself. Where a function has no derivative (ties, kinks), PyTorch's choice.
 * Throws `OpabiniaError` when the loss is not one float, when it does not depend on a tensor, and for an op without a gradient rule, with
 * the path from the loss to it.
 * @example const [dw] = gradients(reduce(x.mul(x), 'b n d -> ', 'sum'), [x])
 */
export function gradients<const W extends readonly Tensor[]>(
  loss: Tensor,
  wrt: W,
  options: GradientOptions = {},
): { readonly [I in keyof W]: W[I] } {
  requireTensor('gradients', loss);
  requireList('gradients', wrt, 'the tensors', 'gradients(loss, [x])');
  for (const x of wrt) requireTensor('gradients', x);
  if (loss.axes.length > 0 || !isFloat(loss.dtype))
    throw refusal('gradients', 'the loss is not one float', [loss], 'reduce it over all its axes');
  const stranger = wrt.find((x) => x.builder !== loss.builder);
  if (stranger !== undefined)
    throw refusal('gradients', 'the tensors belong to two traces', [loss, stranger], 'take gradients inside the trace');
  const whole = wrt.find((x) => !isFloat(x.dtype));
  if (whole !== undefined)
    throw refusal('gradients', `${whole.dtype} has no gradient`, [whole], 'give tensors of floats');
  const found = gradientNodes(
    loss.builder,
    loss.node,
    wrt.map((x) => x.node),
  );
  const results = wrt.map((x, i) => {
    const node = found[i] ?? (options.unused === 'zeros' ? zeros(loss.builder, x.node) : undefined);
    if (node === undefined)
      throw refusal(
        'gradients',
        'the loss does not depend on this tensor',
        [x],
        "leave it out, or give { unused: 'zeros' }",
      );
    return new Tensor(loss.builder, node);
  });
  return results as unknown as { readonly [I in keyof W]: W[I] };
}

function zeros(builder: Builder, x: Node): Node {
  return new BackwardMath(builder, x.origin).filled(0, x.type.axes, x.type.dtype);
}

/** The same for nodes of one builder; undefined for a node that the loss does not depend on. */
export function gradientNodes(builder: Builder, loss: Node, wrt: readonly Node[]): readonly (Node | undefined)[] {
  const nodes = orderFrom([loss]);
  const reached = new Set(nodes);
  const targets = wrt.map((node) => parameterOf(node, reached));
  const depends = dependents(nodes, new Set(targets));
  const replays = new Replays(builder, nodes);
  const known = new Map<Node, Gradient>([[loss, new Gradient(undefined)]]);
  const start = new BackwardMath(builder, loss.origin);
  known.get(loss)?.add(start, start.filled(1, [], loss.type.dtype));
  for (const node of nodes.toReversed()) {
    const gradient = depends.has(node) ? known.get(node) : undefined;
    const dy = gradient?.total(new BackwardMath(builder, node.origin));
    if (dy === undefined) continue;
    const wanted = (i: number): boolean => {
      const operand = node.inputs[i];
      return operand !== undefined && depends.has(operand) && isFloat(operand.type.dtype);
    };
    if (!node.inputs.some((_, i) => wanted(i))) continue;
    const made = at(node.origin.path, () => vjp(new BackwardMath(builder, node.origin), replays.of(node), dy, wanted));
    if (made === noRule) throw withoutRule(node, known);
    made.forEach((part, i) => {
      const operand = node.inputs[i];
      if (operand === undefined || !wanted(i)) return;
      const sum = known.get(operand) ?? new Gradient(node);
      known.set(operand, sum);
      if (part !== undefined) sum.add(new BackwardMath(builder, operand.origin), part);
    });
  }
  return wrt.map((node, i) => {
    const target = targets[i];
    const gradient = target === undefined ? undefined : known.get(target);
    if (target === undefined || gradient === undefined) return undefined;
    const total = gradient.total(new BackwardMath(builder, node.origin)) ?? zeros(builder, target);
    return seenAs(builder, node, target, total);
  });
}

/** The sum of what a node's readers give it, added as it comes: what was added need not be kept. 16-bit floats are added in f32. */
class Gradient {
  /** A reader on the way from the loss; none for the loss itself. */
  readonly via: Node | undefined;
  #sum: Node | undefined;
  #dtype: DType = 'f32';

  constructor(via: Node | undefined) {
    this.via = via;
  }

  add(math: BackwardMath, part: Node): void {
    this.#dtype = part.type.dtype;
    const wide = this.#dtype === 'f16' || this.#dtype === 'bf16' ? 'f32' : this.#dtype;
    this.#sum = this.#sum === undefined ? part : math.op('add', math.cast(this.#sum, wide), math.cast(part, wide));
  }

  /** Undefined when every reader gave zero. */
  total(math: BackwardMath): Node | undefined {
    return this.#sum && math.cast(this.#sum, this.#dtype);
  }
}

/** The nodes whose value depends on one of the targets. */
function dependents(nodes: readonly Node[], targets: ReadonlySet<Node | undefined>): ReadonlySet<Node> {
  const found = new Set<Node>();
  for (const node of nodes) if (targets.has(node) || node.inputs.some((input) => found.has(input))) found.add(node);
  return found;
}

/**
 * The node that the loss reads where `node` is another view of it. A parameter is one tensor under whatever names it is asked for: a module
 * may have read it under the same names in one place, and under others elsewhere.
 */
function parameterOf(node: Node, reached: ReadonlySet<Node>): Node {
  let target = node;
  let found = reached.has(node) ? node : undefined;
  while (target.op.kind === 'view' && target.op.shows === 'each' && target.inputs[0] !== undefined) {
    target = target.inputs[0];
    if (found === undefined && reached.has(target)) found = target;
  }
  return found === undefined || isParameter(target) ? target : found;
}

/** True for a tensor of the checkpoint as it is read: in its own dtype, or widened. */
function isParameter(node: Node): boolean {
  const [read = node] = node.op.kind === 'map' && node.op.converts ? node.inputs : [];
  return roleOf(read) === 'param';
}

/** The gradient of `target` as `node`, a one-to-one view of it, shows it. */
function seenAs(builder: Builder, node: Node, target: Node, gradient: Node): Node {
  const [operand] = node.inputs;
  if (node === target || operand === undefined) return gradient;
  return builder.make(node.op, [seenAs(builder, operand, target, gradient)], node.attrs, node.origin);
}

function withoutRule(node: Node, known: ReadonlyMap<Node, Gradient>): OpabiniaError {
  const path: Node[] = [];
  for (let at: Node | undefined = node; at !== undefined; at = known.get(at)?.via) path.unshift(at);
  const shown = path.length > 12 ? [...path.slice(0, 4), undefined, ...path.slice(-7)] : path;
  const lines = shown.map((step) => (step === undefined ? `\n  … ${path.length - 11} more` : `\n  ${describe(step)}`));
  return new OpabiniaError(
    `'${node.op.name}' ${printAxes(node.type.axes)} has no gradient rule; the path from the loss:${lines.join('')}`,
    {
      op: 'gradients',
      path: node.origin.path,
      place: here().place,
      advice: 'give its record the field grad, or put stopGradient around it',
    },
  );
}
