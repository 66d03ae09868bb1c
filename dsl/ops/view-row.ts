// What every view's record has in common: its attributes are read and checked before its own functions see them.
import type { Node } from '../graph/graph.ts';
import type { Attrs, GradientMath, IndexMath, Reader, Refusal, TensorType, ViewOp, ViewSource } from '../graph/op.ts';

interface Row<A> extends Pick<ViewOp<A>, 'name' | 'doc' | 'shows' | 'text' | 'read'> {
  infer(x: TensorType, attrs: A): TensorType | Refusal;
  source<I, C>(math: IndexMath<I, C>, out: ReadonlyMap<string, I>, attrs: A, x: TensorType): ViewSource<I, C>;
  transpose(math: GradientMath, dy: Node, attrs: A, x: TensorType): Node;
  target?<I, C>(math: IndexMath<I, C>, index: ReadonlyMap<string, I>, attrs: A, x: TensorType): ReadonlyMap<string, I>;
}

/** The record of a view whose functions take the attributes that `read` gives. */
export function view<A>(row: Row<A>): ViewOp<A> {
  const { name, doc, shows, text, target } = row;
  const read: Reader<A> = row.read;
  return {
    kind: 'view',
    name,
    doc,
    shows,
    read,
    ...(text === undefined ? {} : { text }),
    infer: (x, attrs) => row.infer(x, read(attrs)),
    source: (math, out, attrs, x) => row.source(math, out, read(attrs), x),
    transpose: (math, dy, attrs, x) => row.transpose(math, dy, read(attrs), x),
    ...(target === undefined
      ? {}
      : {
          target: <I, C>(math: IndexMath<I, C>, index: ReadonlyMap<string, I>, attrs: Attrs, x: TensorType) =>
            target(math, index, read(attrs), x),
        }),
  };
}
