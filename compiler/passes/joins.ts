// Joins of slices: the same range taken from several tensors and joined is a range of the joined tensors.
import { sameAxes } from '../../dsl/axis/axes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { RulePass } from '../rewrite/pass.ts';
import { type Rewriter } from '../rewrite/rewriter.ts';
import type { Rule } from '../rewrite/rules.ts';
import { printSize } from '../../dsl/axis/axis.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import { slice } from '../../dsl/ops/view.ts';

function sliceKey(node: Node): string | undefined {
  if (node.op !== slice) return undefined;
  const { axis, start, size, step } = slice.read(node.attrs);
  return `${axis} ${printSize(start)} ${printSize(size)} ${step}`;
}

/**
 * concat_t(m₀[c], m₁[c], …) = concat_t(m₀, m₁, …)[c]. Pays when other ranges of the same tensors are joined too: the keys
 * and the values of all encoders, which siblings left as slices of one product each, then share one join.
 */
function joinBeforeSlice(node: Node, r: Rewriter): Node | undefined {
  const along = alongAxis(node);
  const [first] = node.inputs;
  const key = first === undefined ? undefined : sliceKey(first);
  if (first === undefined || key === undefined || node.inputs.length < 2) return undefined;
  const { axis, start, size, step } = slice.read(first.attrs);
  if (axis === along) return undefined;
  const whole: Node[] = [];
  for (const part of node.inputs) {
    const [x] = part.inputs;
    if (x === undefined || sliceKey(part) !== key) return undefined;
    const others = r.readers(x);
    const shared =
      others.length > 1 &&
      others.every(
        (reader) => reader.op.name === 'slice' && r.readers(reader).every((next) => next.op.kind === 'join'),
      );
    if (
      !shared ||
      !sameAxes(
        x.type.axes.filter((a) => a.name !== along),
        whole[0]?.type.axes.filter((a) => a.name !== along) ?? x.type.axes.filter((a) => a.name !== along),
      )
    )
      return undefined;
    whole.push(x);
  }
  return r.slice(r.concat(whole, along), axis, start, size, step);
}

export const joinRules: readonly Rule[] = [
  {
    name: 'join before slice',
    why: 'the slice takes the same range of another axis from every operand',
    heads: ['join'],
    apply: joinBeforeSlice,
  },
];

export const joins: RulePass = {
  name: 'joins',
  why: 'keys and values of all encoders share one join',
  rules: joinRules,
};
