// From a node at an index to WGSL: loads where values are stored, arithmetic everywhere else. Views cost nothing: they are index maps.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { isInteger, type JoinOp, type SourceOp, type ViewOp } from '../../dsl/graph/op.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { code, constantCode, literal, splat, vectorType, type Code, type WgslType } from '../../dsl/wgsl.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import {
  add,
  alwaysHolds,
  atomIndex,
  clamp,
  constantIndex,
  divide,
  indexMath,
  isConstant,
  isMultiple,
  scale,
  sizeIndex,
  type Guard,
  type Index,
} from '../index/index-math.ts';
import { coefficient, mentions } from '../index/index-variables.ts';
import { indexText } from '../index/index-text.ts';
import { loopVariable, type Block, type Slot } from './kernel.ts';
import { axisStem } from './names.ts';
import { compose, typeOf, type Width } from './element-format.ts';
import { Slots, type SlotOptions, type Touch } from './slots.ts';
import { axisSize, isEmpty, sectionsAlong } from './sections.ts';
import { indexAlong, type IndexMap, type Placement } from './storage.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import { extentOf, valuesOf } from '../../dsl/ops/source.ts';
import { onLane, quad, quadName } from './quad.ts';

/** Values that the template itself holds: an accumulator, a reduced row. */
export type Held = (block: Block, index: IndexMap, width: Width) => Code;

export class Lowering {
  readonly held = new Map<Node, Held>();
  readonly #place: (node: Node) => Placement | undefined;
  readonly #computed: ReadonlySet<Node>;
  readonly #memory: Slots;

  /** `computed`: nodes that this kernel computes itself, even if they are stored too. */
  constructor(place: (node: Node) => Placement | undefined, computed: ReadonlySet<Node>, options: SlotOptions) {
    this.#place = place;
    this.#computed = computed;
    this.#memory = new Slots(options);
  }

  get slots(): readonly Slot[] {
    return this.#memory.slots;
  }

  get accesses(): readonly Touch[] {
    return this.#memory.accesses;
  }

  /** The value of `node` at `index` (one entry per axis of the node; more are ignored). */
  value(block: Block, node: Node, index: IndexMap, width: Width): Code {
    const own = new Map(node.type.axes.map((axis) => [axis.name, indexAlong(index, axis.name)]));
    if (width === 4 && ![...own.values()].some((i) => mentions(i, quadName))) {
      const one = this.value(block, node, own, 1);
      return splat(one, vectorType(one.type));
    }
    const key = `${node.id}/${width}/${[...own.values()].map((i) => i.key).join(',')}`;
    const known = block.known(key);
    if (known !== undefined) return known;
    return block.let(node.op.name, this.#compute(block, node, own, width), key);
  }

  /** Loads what a value is computed from by maps and views, so that this block, or one inside it, computes it later without waiting for memory. */
  load(block: Block, node: Node, index: IndexMap, width: Width): void {
    const own = new Map(node.type.axes.map((axis) => [axis.name, indexAlong(index, axis.name)]));
    const isWide = width === 4 && [...own.values()].some((i) => mentions(i, quadName));
    if (this.held.has(node)) return;
    if (!this.#computed.has(node) && this.#place(node) !== undefined) this.value(block, node, own, isWide ? 4 : 1);
    else if (node.op.kind === 'map') for (const x of node.inputs) this.load(block, x, own, isWide ? 4 : 1);
    else if (node.op.kind === 'view') {
      const [x] = node.inputs;
      const source = x === undefined ? undefined : node.op.source(indexMath, own, node.attrs, x.type);
      if (x !== undefined && source?.guards.every(alwaysHolds) === true)
        this.load(block, x, source.index, isWide ? 4 : 1);
    }
  }

  #compute(block: Block, node: Node, index: IndexMap, width: Width): Code {
    const held = this.held.get(node);
    if (held !== undefined) return held(block, index, width);
    const placement = this.#computed.has(node) ? undefined : this.#place(node);
    if (placement !== undefined) return this.#memory.load(block, placement, index, width);
    const { op } = node;
    switch (op.kind) {
      case 'source':
        return this.#source(op, node, index, width);
      case 'map': {
        const type = typeOf(node.type.dtype, width);
        const values = node.inputs.map((x) => this.value(block, x, index, width));
        // WGSL refuses expressions of literals that overflow or have no value, and whole numbers over a literal 0: these become variables.
        const isRefused =
          values.every((value) => value.isLiteral === true) || node.inputs.some((x) => isInteger(x.type.dtype));
        const operands = isRefused
          ? values.map((value) => (value.isLiteral === true ? block.var('constant', value) : value))
          : values;
        const { needs, text } = op.wgsl(
          operands.map((x) => splat(x, type)),
          type,
          node.attrs,
        );
        return code(text, type, needs);
      }
      case 'view':
        return this.#view(block, op, node, index, width);
      case 'join':
        return this.#join(block, op, node, index, width);
      case 'gather':
        return this.#gather(block, node, index, width);
      case 'contract':
        return this.#contract(block, node, index, width);
      case 'reduce':
      case 'scatter':
      case 'sort':
        throw new OpabiniaError(`the ${op.kind} '${op.name}' was neither stored nor computed by its kernel`, {
          op: op.name,
          path: node.origin.path,
        });
      default:
        return op satisfies never;
    }
  }

  #source(op: SourceOp, node: Node, index: IndexMap, width: Width): Code {
    const type = computeType(node.type.dtype);
    const wanted = typeOf(node.type.dtype, width);
    const values = valuesOf(node);
    switch (op.role) {
      case 'constant':
        if (values?.length === 1) return splat(literal(values[0] ?? 0, type), wanted);
        break;
      case 'extent':
        return splat(ofIndex(sizeIndex(extentOf(node) ?? 0), type), wanted);
      case 'index': {
        const [only] = index.values();
        if (only === undefined) break;
        const position = this.position(only, width);
        return position.type === wanted ? position : code(`${wanted}(${position.text})`, wanted);
      }
      case 'input':
      case 'param':
      case 'state':
      case 'loaded':
        break;
      default:
        return op.role satisfies never;
    }
    throw new OpabiniaError(`the ${op.role} is not stored`, { op: op.name, path: node.origin.path });
  }

  /**
   * Of a stored tensor, a block that is read as a whole: what the kernel calls the tensor, and the element that the block begins at. `every`: an
   * index that runs over all of it.
   */
  block(node: Node, first: IndexMap, every: IndexMap): { readonly slot: string; readonly at: Index } {
    const placement = this.#place(node);
    if (placement === undefined) throw new TypeError(`'${node.op.name}' is not stored`);
    return this.#memory.block(placement, first, every);
  }

  /** An index as an i32 value. */
  position(index: Index, width: Width): Code {
    if (width === 1) return ofIndex(index, 'i32');
    const step = coefficient(index, quadName);
    if (step === undefined) return compose([0, 1, 2, 3].map((lane) => this.position(onLane(index, lane), 1)));
    return code(`(vec4i(i32(${indexText(onLane(index, 0))})) + vec4i(0, ${step}, ${2 * step}, ${3 * step}))`, 'vec4i');
  }

  #view(block: Block, op: ViewOp, node: Node, index: IndexMap, width: Width): Code {
    const [x] = node.inputs;
    if (x === undefined) throw new TypeError('a view without an operand');
    const source = op.source(indexMath, index, node.attrs, x.type);
    const open = source.guards.filter((guard) => !alwaysHolds(guard));
    if (open.length === 0) return this.value(block, x, source.index, width);
    if (isEmpty(x))
      return splat(literal(source.otherwise, computeType(node.type.dtype)), typeOf(node.type.dtype, width));
    // The load happens all the same, so its index is brought into range; the guard then voids the value.
    const inside = new Map(
      [...source.index].map(([name, i]) => [name, clamp(i, sizeIndex(axisSize(x.type.axes, name)))]),
    );
    const value = this.value(block, x, inside, width);
    const type = typeOf(node.type.dtype, width);
    const test = this.#test(open, width);
    const otherwise = splat(literal(source.otherwise, computeType(node.type.dtype)), type);
    return code(`select(${otherwise.text}, ${splat(value, type).text}, ${test})`, type, value.needs);
  }

  #test(guards: readonly Guard[], width: Width): string {
    if (width === 4 && guards.some((g) => mentions(g.of, quadName))) {
      return `vec4<bool>(${[0, 1, 2, 3]
        .map((lane) =>
          this.#test(
            guards.map((g) => ({ ...g, of: onLane(g.of, lane) })),
            1,
          ),
        )
        .join(', ')})`;
    }
    const tests = guards.flatMap((g) => [
      ...(g.of.least >= g.least.most ? [] : [`i32(${indexText(g.of)}) >= i32(${indexText(g.least)})`]),
      ...(g.of.most < g.end.least ? [] : [`i32(${indexText(g.of)}) < i32(${indexText(g.end)})`]),
    ]);
    return tests.length === 0 ? 'true' : `(${tests.join(' && ')})`;
  }

  #join(block: Block, op: JoinOp, node: Node, index: IndexMap, width: Width): Code {
    const name = op.read(node.attrs).axis;
    const along = indexAlong(index, name);
    const parts = sectionsAlong(node.inputs, name).filter((part) => !isEmpty(part.node));
    const certain = parts.find((p) => along.least >= p.start.most && along.most < p.end.least);
    const moved = (i: Index): IndexMap => new Map(index).set(name, i);
    if (certain !== undefined)
      return this.value(block, certain.node, moved(add(along, scale(certain.start, -1))), width);
    const aligned = isMultiple(add(along, scale(quad, -1)), 4) && parts.every((p) => isMultiple(p.start, 4));
    if (width === 4 && mentions(along, quadName) && !aligned) return this.#byLane(block, node, index);
    const type = typeOf(node.type.dtype, width);
    const zero = splat(literal(0, computeType(node.type.dtype)), type);
    const result = block.var(node.op.name, zero);
    const first = width === 4 ? onLane(along, 0) : along;
    for (const [i, part] of parts.entries()) {
      const tests = [
        ...(i === 0 ? [] : [`${indexText(first)} >= ${indexText(part.start)}`]),
        ...(i === parts.length - 1 ? [] : [`${indexText(first)} < ${indexText(part.end)}`]),
      ];
      block.when(tests.join(' && ') || 'true', (inner) => {
        const shifted = add(along, scale(part.start, -1));
        const safe =
          width === 4 && mentions(along, quadName)
            ? add(scale(clampedQuarter(onLane(shifted, 0), part.size), 4), quad)
            : clamp(shifted, part.size);
        inner.assign(result.text, splat(this.value(inner, part.node, moved(safe), width), type));
      });
    }
    return result;
  }

  #gather(block: Block, node: Node, index: IndexMap, width: Width): Code {
    const [x, positions] = node.inputs;
    if (x === undefined || positions === undefined) throw new TypeError('a gather without operands');
    const name = alongAxis(node);
    if (width === 4 && positions.type.axes.some((axis) => mentions(indexAlong(index, axis.name), quadName)))
      return this.#byLane(block, node, index);
    const end = sizeIndex(axisSize(x.type.axes, name));
    const position = this.value(block, positions, index, 1);
    const inside =
      position.type === 'u32'
        ? `min(${position.text}, ${indexText(end)} - 1u)`
        : `u32(clamp(${position.text}, 0i, i32(${indexText(end)}) - 1i))`;
    const clamped = block.let(axisStem(name), code(inside, 'u32', position.needs), `row/${position.text}/${end.key}`);
    const row = atomIndex(loopVariable(clamped.text, end));
    return this.value(block, x, new Map(index).set(name, row), width);
  }

  /** One element of a product that nobody stores: a loop over what is summed, in f32. */
  #contract(block: Block, node: Node, index: IndexMap, width: Width): Code {
    const [a, b] = node.inputs;
    if (a === undefined || b === undefined) throw new TypeError('a contraction without operands');
    if (width === 4) return this.#byLane(block, node, index);
    const { sum } = roles(a.type, b.type, node.type);
    const inner = sum.at(-1);
    const isWide = inner !== undefined && typeof inner.size === 'number' && inner.size % 4 === 0;
    const total = block.var('product', literal(0, 'f32'));
    const step = (body: Block, axes: readonly Axis[], at: IndexMap): void => {
      const [first, ...rest] = axes;
      if (first === undefined) {
        const [x, y] = [this.value(body, a, at, isWide ? 4 : 1), this.value(body, b, at, isWide ? 4 : 1)];
        const needs = [...x.needs, ...y.needs];
        body.assign(
          total.text,
          code(
            isWide ? `${total.text} + dot(${x.text}, ${y.text})` : `fma(${x.text}, ${y.text}, ${total.text})`,
            'f32',
            needs,
          ),
        );
        return;
      }
      const isQuartered = isWide && rest.length === 0;
      const end = isQuartered ? divide(sizeIndex(first.size), constantIndex(4)) : sizeIndex(first.size);
      body.loop(isQuartered ? `${axisStem(first.name)}_quad` : axisStem(first.name), end, (inside, d) =>
        step(inside, rest, new Map(at).set(first.name, isQuartered ? add(scale(d, 4), quad) : d)),
      );
    };
    step(block, sum, index);
    return total;
  }

  #byLane(block: Block, node: Node, index: IndexMap): Code {
    return compose(
      [0, 1, 2, 3].map((lane) =>
        this.value(block, node, new Map([...index].map(([name, i]) => [name, onLane(i, lane)])), 1),
      ),
    );
  }

  /** Writes the value of a root; in vectors when four neighbours in memory are four neighbours along the quad. */
  store(block: Block, placement: Placement, index: IndexMap, value: Code, width: Width): void {
    if (placement.row !== undefined) {
      const { axis, position } = placement.row;
      if (width === 4 && position.type.axes.some(({ name }) => mentions(indexAlong(index, name), quadName))) {
        this.#storeLanes(block, placement, index, value);
        return;
      }
      const size = sizeIndex(axisSize(placement.storage.axes, axis));
      const kept = block.let('kept', value);
      const place = this.value(block, position, index, 1);
      // What is below 0 is above every size as a u32.
      block.when(`u32(${place.text}) < ${indexText(size)}`, (inside) => {
        const at = inside.index(axis, `u32(${place.text})`, size);
        this.store(inside, { storage: placement.storage }, new Map(index).set(axis, at), kept, width);
      });
      return;
    }
    this.#memory.store(block, placement, index, value, width);
  }

  /** Four neighbours that each go where their own position says. */
  #storeLanes(block: Block, placement: Placement, index: IndexMap, value: Code): void {
    const { dtype } = placement.storage;
    const wide = block.let('kept', splat(value, typeOf(dtype, 4)));
    ['x', 'y', 'z', 'w'].forEach((component, lane) => {
      const own = new Map([...index].map(([name, i]) => [name, onLane(i, lane)]));
      this.store(block, placement, own, code(`${wide.text}.${component}`, computeType(dtype), wide.needs), 1);
    });
  }
}

function clampedQuarter(index: Index, size: Index): Index {
  return divide(clamp(index, size), constantIndex(4));
}

/** An index as a value of another type. */
function ofIndex(index: Index, type: WgslType): Code {
  const text = `${type}(${indexText(index)})`;
  return isConstant(index) ? constantCode(text, type) : code(text, type);
}
