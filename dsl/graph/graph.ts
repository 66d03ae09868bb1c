// A graph is a set of immutable, interned nodes: equal nodes are the same object, so a common subexpression never exists twice.
import { digest } from './digest.ts';
import {
  axisOf,
  isSymbolicSize,
  printAxes,
  printSize,
  sizeLeast,
  sizesEqual,
  type Axis,
  type Size,
} from '../axis/axis.ts';
import { OpabiniaError } from '../error.ts';
import { Refusal, type Attr, type Attrs, type ReduceOp, type Op, type SourceRole, type TensorType } from './op.ts';
import { isObject, said } from './required.ts';

/** Where a node comes from: the model path of its parameters, and the user's file and line. */
export interface Origin {
  readonly path: string;
  readonly place: string | undefined;
}

export const nowhere: Origin = { path: '', place: undefined };

export interface Node {
  readonly id: number;
  readonly op: Op;
  readonly inputs: readonly Node[];
  readonly attrs: Attrs;
  readonly type: TensorType;
  readonly origin: Origin;
}

/** At the end of a run, `value` is written into `state`, starting at `at` (0 where an axis is not named). The only effect. */
export interface Update {
  readonly state: Node;
  readonly value: Node;
  readonly at: ReadonlyMap<string, Size>;
}

export interface Graph {
  readonly outputs: ReadonlyMap<string, Node>;
  readonly updates: readonly Update[];
}

/** Makes the nodes of one graph. Models do not need it: `trace` has one. */
export class Builder {
  readonly #nodes = new Map<string, Node>();
  #count = 0;
  #closed: string | undefined;

  /** The node of this op, operands and attributes: made once, typed by the op's own shape rule. Throws `OpabiniaError`. */
  make(op: Op, inputs: readonly Node[], attrs: Attrs = {}, origin: Origin = nowhere): Node {
    return this.#once(op, inputs, attrs, origin, undefined);
  }

  /** The same op over other operands, of this builder. A type depends on nothing else than theirs, so where they are the same it is known. */
  remake(node: Node, inputs: readonly Node[]): Node {
    const isAlike = inputs.every((input, i) => input.type === node.inputs[i]?.type);
    return this.#once(node.op, inputs, node.attrs, node.origin, isAlike ? node.type : undefined);
  }

  #once(op: Op, inputs: readonly Node[], attrs: Attrs, origin: Origin, stated: TensorType | undefined): Node {
    if (this.#closed !== undefined) {
      throw new OpabiniaError(this.#closed, {
        op: op.name,
        path: origin.path,
        place: origin.place,
        advice: 'build the whole model inside the function given to trace',
      });
    }
    const key = `${op.name}(${inputs.map((n) => n.id).join(',')})${textOf(attrs)}`;
    const known = this.#nodes.get(key);
    if (known !== undefined) return known;
    const type =
      stated ??
      inferType(
        op,
        inputs.map((n) => n.type),
        attrs,
      );
    if (type instanceof Refusal) {
      throw new OpabiniaError(
        `${type.what}${inputs.map((n, i) => `\n  ${ordinal(i, inputs.length)} ${describe(n)}`).join('')}`,
        {
          op: op.name,
          path: origin.path,
          place: origin.place,
          advice: type.advice,
        },
      );
    }
    const node: Node = { id: this.#count++, op, inputs, attrs, type, origin };
    this.#nodes.set(key, node);
    return node;
  }

  /** After this, `make` refuses: a tensor that outlives its trace cannot be computed with. */
  close(reason: string): void {
    this.#closed = reason;
  }
}

function ordinal(i: number, count: number): string {
  return count === 1 ? 'operand' : `operand ${i + 1}`;
}

/** For callers without types. */
function noNode(op: string, value: unknown): OpabiniaError {
  return new OpabiniaError(`the node is ${said(value)}`, { op, advice: `give that of a tensor: ${op}(x.node)` });
}

/**
 * What a leaf stands for; undefined for what is computed.
 * @example roleOf(x.node) // 'input'
 */
export function roleOf(node: Node): SourceRole | undefined {
  if (!isObject(node) || !isObject(node.op)) throw noNode('roleOf', node);
  return node.op.kind === 'source' ? node.op.role : undefined;
}

/** The axes that a reduction takes away; none for any other node. */
export function reducedAxes(node: Node | undefined): readonly string[] {
  return node?.op.kind === 'reduce' ? node.op.read(node.attrs).axes : [];
}

/**
 * `gelu(fc1) [b:1 n:577 d:1024] f32  models/vit.ts:31`
 * @example describe(x.node)
 */
export function describe(node: Node): string {
  if (!isObject(node) || !isObject(node.origin)) throw noNode('describe', node);
  const name = node.op.kind === 'source' && typeof node.attrs['name'] === 'string' ? node.attrs['name'] : node.op.name;
  const path = node.origin.path === '' || node.origin.path === name ? '' : ` (${node.origin.path})`;
  const place = node.origin.place === undefined ? '' : `  ${node.origin.place}`;
  return `${name}${path} ${printAxes(node.type.axes)} ${node.type.dtype}${place}`;
}

/** The type an op gives to operands of these types; every stage that makes or checks nodes asks here. */
export function inferType(op: Op, inputs: readonly TensorType[], attrs: Attrs): TensorType | Refusal {
  const [a, b] = inputs;
  switch (op.kind) {
    case 'source':
      return op.infer(inputs, attrs);
    case 'map': {
      if (inputs.length !== op.arity) return new Refusal(`takes ${op.arity} operands, got ${inputs.length}`);
      const axes = alignedAxes(inputs);
      if (axes instanceof Refusal) return axes;
      const dtype = op.dtype(
        inputs.map((x) => x.dtype),
        attrs,
      );
      return dtype instanceof Refusal ? dtype : { axes, dtype };
    }
    case 'reduce':
      return a === undefined ? new Refusal('takes one operand') : reducedType(op, a, attrs);
    case 'view':
      return a === undefined ? new Refusal('takes one operand') : op.infer(a, attrs);
    case 'join':
      return op.infer(inputs, attrs);
    case 'gather':
      return a === undefined || b === undefined ? new Refusal('takes a tensor and an index') : op.infer(a, b, attrs);
    case 'scatter':
      return a === undefined || b === undefined ? new Refusal('takes updates and an index') : op.infer(a, b, attrs);
    case 'sort':
      return a === undefined ? new Refusal('takes one operand') : op.infer(a, attrs);
    case 'contract':
      return a === undefined || b === undefined ? new Refusal('takes two operands') : op.infer(a, b, attrs);
    default:
      return op satisfies never;
  }
}

/** The axes of the operand that has them all; the others broadcast by name. */
function alignedAxes(inputs: readonly TensorType[]): readonly Axis[] | Refusal {
  const widest = inputs.find((x) =>
    inputs.every((y) => y.axes.every((axis) => axisOf(x.axes, axis.name) !== undefined)),
  );
  if (widest === undefined) {
    const first = inputs[0]?.axes ?? [];
    const missing = inputs.flatMap((x) => x.axes).find((axis) => axisOf(first, axis.name) === undefined);
    return new Refusal(
      `no operand has every axis; '${missing?.name ?? '?'}' is missing in ${printAxes(first)}`,
      'widen an operand with repeat, or rename its axis with rearrange',
    );
  }
  for (const x of inputs) {
    for (const axis of x.axes) {
      const wide = axisOf(widest.axes, axis.name);
      if (wide !== undefined && !sizesEqual(wide.size, axis.size)) {
        return new Refusal(
          `axis '${axis.name}' is ${printSize(wide.size)} in ${printAxes(widest.axes)} and ${printSize(axis.size)} in ${printAxes(x.axes)}`,
        );
      }
    }
  }
  return widest.axes;
}

function reducedType(op: ReduceOp, x: TensorType, attrs: Attrs): TensorType | Refusal {
  const names = op.read(attrs).axes;
  const unknown = names.find((name) => axisOf(x.axes, name) === undefined);
  if (unknown !== undefined) return new Refusal(`${printAxes(x.axes)} has no axis '${unknown}'`);
  if (x.dtype === 'bool') return new Refusal('takes numbers, not bool', "cast it: cast('f32'), or cast('i32')");
  const empty = x.axes.find((axis) => names.includes(axis.name) && sizeLeast(axis.size) < 1);
  if (empty !== undefined && op.rounding === 0)
    return new Refusal(`axis '${empty.name}' may be empty, and an empty ${op.name} has no value`);
  return { axes: x.axes.filter((axis) => !names.includes(axis.name)), dtype: x.dtype };
}

/** Numbers of an array that the text of attributes has one by one; of more it has their digest. */
const mostWritten = 256;

const texts = new WeakMap<Attrs, string>();

/** `printAttrs`, once for attributes that go from graph to graph. They never change. */
export function textOf(attrs: Attrs): string {
  const known = texts.get(attrs);
  if (known !== undefined) return known;
  const text = printAttrs(attrs);
  texts.set(attrs, text);
  return text;
}

/** A canonical text of attributes: keys sorted, equal values equal text. */
export function printAttrs(attrs: Attrs): string {
  return Object.keys(attrs)
    .sort()
    .map((key) => `${key}=${printAttr(attrs[key])}`)
    .join(' ');
}

export function printAttr(attr: Attr | undefined): string {
  if (attr === undefined) return '';
  // Array.from: the array's own join writes -0 as 0, and the two are different constants.
  if (attr instanceof Float64Array)
    return attr.length > mostWritten
      ? `{#${attr.length} ${digest(attr)}}`
      : `{${Array.from(attr, printNumber).join(' ')}}`;
  if (Array.isArray(attr)) return `[${attr.map((item: Attr) => printAttr(item)).join(' ')}]`;
  if (typeof attr === 'object') return isSymbolicSize(attr) ? printSize(attr) : `(${printAttrs(attr as Attrs)})`;
  return typeof attr === 'number' ? printNumber(attr) : typeof attr === 'string' ? JSON.stringify(attr) : String(attr);
}

/** A number as `String` has it, but for the sign of zero. */
export function printNumber(x: number): string {
  return Object.is(x, -0) ? '-0' : String(x);
}
