// Views of views become one view, and a view that changes nothing goes away.
import { namesOf, sameAxes } from '../../dsl/axis/axes.ts';
import {
  addSizes,
  axisOf,
  multiplySizes,
  sizeLeast,
  sizesEqual,
  subtractSizes,
  type Size,
  neverAbove,
} from '../../dsl/axis/axis.ts';
import { printAttrs, type Node } from '../../dsl/graph/graph.ts';
import { rearrange, pad, slice } from '../../dsl/ops/view.ts';
import { type Rewriter } from '../rewrite/rewriter.ts';
import { any, as, op, rule, type Rule } from '../rewrite/rules.ts';
import {
  attributesOf,
  attrsOf,
  coarsen,
  compose,
  formOf,
  isIdentity,
  isPermutation,
  type Form,
} from './rearrangement.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

function makeRearrange(r: Rewriter, x: Node, form: Form): Node {
  const simple = coarsen(form);
  return isIdentity(simple, x.type.axes) ? x : r.make(rearrange, [x], attributesOf(simple, x.type.axes));
}

interface Piece {
  readonly node: Node;
  readonly start: Size;
  readonly end: Size;
}

/** Neighbouring slices of one tensor among the operands of a concat become one slice. */
function joinPieces(node: Node, r: Rewriter): Node | undefined {
  const axis = alongAxis(node);
  const parts: Node[] = [];
  let open: Piece | undefined;
  const close = (): void => {
    if (open !== undefined) parts.push(r.slice(open.node, axis, open.start, subtractSizes(open.end, open.start)));
    open = undefined;
  };
  for (const part of node.inputs) {
    const [x] = part.inputs;
    if (part.op.name !== 'slice' || x === undefined || alongAxis(part) !== axis || slice.read(part.attrs).step !== 1) {
      close();
      parts.push(part);
      continue;
    }
    const { start, size } = slice.read(part.attrs);
    if (open !== undefined && open.node === x && sizesEqual(open.end, start)) {
      open = { ...open, end: addSizes(start, size) };
    } else {
      close();
      open = { node: x, start, end: addSizes(start, size) };
    }
  }
  close();
  return parts.length < node.inputs.length ? r.concat(parts, axis) : undefined;
}

/** A slice that lies inside one operand of a concat. */
function sliceOfConcat(node: Node, r: Rewriter): Node | undefined {
  const [joined] = node.inputs;
  const { axis, start, size, step } = slice.read(node.attrs);
  if (joined === undefined || joined.op.kind !== 'join' || joined.op.read(joined.attrs).axis !== axis) return undefined;
  const end = addSizes(start, addSizes(multiplySizes(step, subtractSizes(size, 1)), 1));
  let offset: Size = 0;
  for (const part of joined.inputs) {
    const past: Size = addSizes(offset, axisOf(part.type.axes, axis)?.size ?? 0);
    if (sizeLeast(size) > 0 && neverAbove(offset, start) && neverAbove(end, past))
      return r.slice(part, axis, subtractSizes(start, offset), size, step);
    offset = past;
  }
  return undefined;
}

function sumOfPads(node: Node, r: Rewriter): Node | undefined {
  const [a, b] = node.inputs;
  return a?.op === pad && b?.op === pad ? padsTogether(a, b, r) : undefined;
}

/** Two ranges among zeros that touch, as one. */
function padsTogether(a: Node, b: Node, r: Rewriter): Node | undefined {
  if (namesOf(a.type.axes).join() !== namesOf(b.type.axes).join()) return undefined;
  const [one, two] = [pad.read(a.attrs), pad.read(b.attrs)];
  const [x, y] = [a.inputs[0], b.inputs[0]];
  if (x === undefined || y === undefined || one.axis !== two.axis || one.value !== 0 || two.value !== 0)
    return undefined;
  const { axis } = one;
  const endOf = (before: Size, part: Node): Size => addSizes(before, axisOf(part.type.axes, axis)?.size ?? 0);
  if (sizesEqual(endOf(one.before, x), two.before))
    return r.make(pad, [r.concat([x, y], axis)], { axis, before: one.before, after: two.after, value: 0 });
  if (sizesEqual(endOf(two.before, y), one.before))
    return r.make(pad, [r.concat([y, x], axis)], { axis, before: two.before, after: one.after, value: 0 });
  return undefined;
}

/** The same of two casts: gradients of parts are summed in f32, and kept as narrow as they are. */
function sumOfCastPads(node: Node, r: Rewriter): Node | undefined {
  const [a, b] = node.inputs;
  const [x, y] = [a?.inputs[0], b?.inputs[0]];
  if (a?.op.name !== 'cast' || b?.op.name !== 'cast' || x?.type.dtype !== y?.type.dtype) return undefined;
  const joined = x?.op === pad && y?.op === pad ? padsTogether(x, y, r) : undefined;
  return joined === undefined ? undefined : r.makeTyped(node.type, a.op, [joined], a.attrs);
}

/** The operands of a concat under one and the same rearrange that leaves the joined axis whole: the rearrange can come after. */
function concatOfRearranges(node: Node, r: Rewriter): Node | undefined {
  const axis = alongAxis(node);
  const [first] = node.inputs;
  const inner = first?.inputs[0];
  if (
    first === undefined ||
    inner === undefined ||
    node.inputs.length < 2 ||
    !node.inputs.every((part) => part.op === rearrange)
  )
    return undefined;
  const attrs = attrsOf(first);
  const part = attrs.merge.find((merged) => merged.name === axis)?.parts;
  const from = attrs.split.findIndex((parts) => parts.length === 1 && parts[0] === part?.[0]);
  const under = inner.type.axes[from]?.name;
  const name = part?.[0];
  if (part?.length !== 1 || under === undefined || name === undefined) return undefined;
  const shape = (part: Node): string => {
    const own = attrsOf(part);
    return `${namesOf(part.inputs[0]?.type.axes ?? []).join()} ${printAttrs({ split: own.split, merge: own.merge.map((m) => ({ name: m.name, parts: m.parts })), sizes: { ...own.sizes, [name]: 0 } })}`;
  };
  if (!node.inputs.every((other) => shape(other) === shape(first))) return undefined;
  const joined = r.concat(
    node.inputs.flatMap((other) => other.inputs),
    under,
  );
  const size = axisOf(joined.type.axes, under)?.size ?? 0;
  return r.make(rearrange, [joined], {
    split: attrs.split,
    merge: attrs.merge.map((m) => ({ name: m.name, parts: m.parts })),
    sizes: { ...attrs.sizes, [name]: size },
  });
}

/** Operands of a contraction are found by name, so their order does not matter. */
function permutedOperands(node: Node, r: Rewriter): Node | undefined {
  const inputs = node.inputs.map((input) => {
    const [x] = input.inputs;
    return input.op === rearrange && x !== undefined && isPermutation(formOf(attrsOf(input)), x.type.axes) ? x : input;
  });
  return inputs.every((input, i) => input === node.inputs[i])
    ? undefined
    : r.makeTyped(node.type, node.op, inputs, node.attrs);
}

export const viewRules: readonly Rule[] = [
  rule({
    name: 'rearrange in normal form',
    why: 'parts that stay side by side are one part; names of parts mean nothing',
    from: op('rearrange', any('x')),
    to({ x }, r, node) {
      const next = makeRearrange(r, x, formOf(attrsOf(node)));
      return next === node ? undefined : next;
    },
  }),
  rule({
    name: 'rearrange of rearrange',
    why: 'both are one-to-one index maps, and their composition splits the axes at common places',
    from: op('rearrange', as('inner', op('rearrange', any('x')))),
    to({ x, inner }, r, node) {
      const form = compose(formOf(attrsOf(inner)), formOf(attrsOf(node)));
      return form === undefined ? undefined : makeRearrange(r, x, form);
    },
  }),
  rule({
    name: 'broadcast to the same',
    why: 'no axis is new',
    from: op('broadcast', any('x')),
    when: ({ x }, node) => sameAxes(x.type.axes, node.type.axes),
    to: ({ x }) => x,
  }),
  rule({
    name: 'broadcast of broadcast',
    why: 'an element of the input goes everywhere either way',
    from: op('broadcast', op('broadcast', any('x'))),
    to: ({ x }, r, node) => r.broadcast(x, node.type.axes),
  }),
  rule({
    name: 'slice of everything',
    why: 'nothing is taken away',
    from: op('slice', any('x')),
    when: ({ x }, node) => sameAxes(x.type.axes, node.type.axes) && slice.read(node.attrs).step === 1,
    to: ({ x }) => x,
  }),
  rule({
    name: 'slice of slice',
    why: 'start + step·(start′ + step′·i) is a range again',
    from: op('slice', as('inner', op('slice', any('x')))),
    when: ({ inner }, node) => alongAxis(inner) === alongAxis(node),
    to({ x, inner }, r, node) {
      const [first, second] = [slice.read(inner.attrs), slice.read(node.attrs)];
      const start = addSizes(first.start, multiplySizes(first.step, second.start));
      return r.slice(x, second.axis, start, second.size, first.step * second.step);
    },
  }),
  { name: 'slice of concat', why: 'the range lies inside one operand', heads: ['slice'], apply: sliceOfConcat },
  rule({
    name: 'pad by nothing',
    why: 'nothing is added',
    from: op('pad', any('x')),
    when(_found, node) {
      const { before, after } = pad.read(node.attrs);
      return before === 0 && after === 0;
    },
    to: ({ x }) => x,
  }),
  rule({
    name: 'pad of pad',
    why: 'the same value on the same axis',
    from: op('pad', as('inner', op('pad', any('x')))),
    when({ inner }, node) {
      const [first, second] = [pad.read(inner.attrs), pad.read(node.attrs)];
      return first.axis === second.axis && first.value === second.value;
    },
    to({ x, inner }, r, node) {
      const [first, second] = [pad.read(inner.attrs), pad.read(node.attrs)];
      return r.make(node.op, [x], {
        ...node.attrs,
        before: addSizes(first.before, second.before),
        after: addSizes(first.after, second.after),
      });
    },
  }),
  {
    name: 'sum of pads',
    why: 'where one is not 0 the other is, and their ranges touch: they are laid end to end. The gradients of the parts of a tensor',
    heads: ['add'],
    apply: sumOfPads,
  },
  {
    name: 'sum of casts of pads',
    why: 'a cast of 0 is 0, and elements are cast one by one',
    heads: ['add'],
    apply: sumOfCastPads,
  },
  rule({
    name: 'flip of flip',
    why: 'reversed twice',
    from: op('flip', as('inner', op('flip', any('x')))),
    when: ({ inner }, node) => alongAxis(inner) === alongAxis(node),
    to: ({ x }) => x,
  }),
  {
    name: 'concat of one',
    why: 'nothing is joined',
    heads: ['concat'],
    apply: (node) => (node.inputs.length === 1 ? node.inputs[0] : undefined),
  },
  {
    name: 'concat of concat',
    why: 'laying end to end is associative',
    heads: ['concat'],
    apply(node, r) {
      const parts = node.inputs.flatMap((part) =>
        part.op.kind === 'join' && alongAxis(part) === alongAxis(node) ? part.inputs : [part],
      );
      return parts.length > node.inputs.length ? r.concat(parts, alongAxis(node)) : undefined;
    },
  },
  {
    name: 'concat of neighbouring slices',
    why: 'two ranges that touch are one range',
    heads: ['concat'],
    apply: joinPieces,
  },
  {
    name: 'concat of rearranges',
    why: 'each moves the joined axis as a whole, so joining before or after is the same',
    heads: ['concat'],
    apply: concatOfRearranges,
  },
  {
    name: 'permuted operand',
    why: 'a contraction finds the axes of its operands by name',
    heads: ['contract'],
    apply: permutedOperands,
  },
];
