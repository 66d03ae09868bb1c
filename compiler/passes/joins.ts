// Joins of slices: the same range taken from several tensors and joined is a range of the joined tensors.
import type { Node } from '../../dsl/graph/graph.ts';
import type { RulePass } from '../rewrite/pass.ts';
import { sameAxes, type Rewriter } from '../rewrite/rewriter.ts';
import type { Rule } from '../rewrite/rules.ts';
import { printSize, type Size } from '../../dsl/axis/axis.ts';

const sliceKey = (node: Node): string | undefined =>
  node.op.name === 'slice'
    ? `${String(node.attrs['axis'])} ${printSize(node.attrs['start'] as Size)} ${printSize(node.attrs['size'] as Size)} ${String(node.attrs['step'] ?? 1)}`
    : undefined;

/**
 * concat_t(m₀[c], m₁[c], …) = concat_t(m₀, m₁, …)[c]. Pays when other ranges of the same tensors are joined too: the keys
 * and the values of all encoders, which siblings left as slices of one product each, then share one join.
 */
function joinBeforeSlice(node: Node, r: Rewriter): Node | undefined {
  const along = String(node.attrs['axis']);
  const [first] = node.inputs;
  const key = first === undefined ? undefined : sliceKey(first);
  const axis = first?.attrs['axis'];
  if (first === undefined || key === undefined || axis === along || node.inputs.length < 2) return undefined;
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
  return r.slice(
    r.concat(whole, along),
    String(axis),
    first.attrs['start'] as Size,
    first.attrs['size'] as Size,
    Number(first.attrs['step'] ?? 1),
  );
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
