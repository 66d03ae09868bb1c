// The order of the elements along an axis, as positions: what sorting and the largest k are made of.
import { axisOf, printAxes, printSize, sizeLeast, subtractSizes } from '../axis/axis.ts';
import { attributes, flag, size, text } from '../graph/attributes.ts';
import { Refusal, type SortOp } from '../graph/op.ts';

const read = attributes('sort', { axis: text, size, descending: flag });

/**
 * out[axis = r] is the position of the element of rank r along `axis`, for the first `size` ranks; falling where `descending`. Equal
 * elements, and ±0, keep their order. NaN is larger than every number, as in PyTorch. Positions have no gradient; values are gathered.
 */
export const sort: SortOp = {
  kind: 'sort',
  read,
  name: 'sort',
  doc: 'positions of the elements along an axis, in order',
  infer(x, attrs) {
    const { axis: name, size: ranks } = read(attrs);
    const along = axisOf(x.axes, name);
    if (along === undefined) return new Refusal(`${printAxes(x.axes)} has no axis '${name}'`);
    if (x.dtype === 'bool') return new Refusal('orders numbers, not bool', 'cast it first');
    if (sizeLeast(ranks) < 0 || sizeLeast(subtractSizes(along.size, ranks)) < 0)
      return new Refusal(
        typeof along.size === 'number'
          ? `axis '${name}' of size ${printSize(along.size)} has no ${printSize(ranks)} ranks`
          : `axis '${name}' of size ${printSize(along.size)} may be as short as ${sizeLeast(along.size)}, and ${printSize(ranks)} elements are asked for`,
        typeof along.size === 'number'
          ? undefined
          : `bound the symbol from below: t.symbol('…', { atLeast: ${printSize(ranks)}, upTo: … })`,
      );
    return { axes: x.axes.map((a) => (a.name === name ? { name, size: ranks } : a)), dtype: 'i32' };
  },
};
