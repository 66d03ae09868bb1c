// Our interpreter and ONNX Runtime on the same graph: every element within the bound that running error analysis gives it.
import { exportOnnx } from '../../compiler/export/onnx.ts';
import { runExported } from '../../pipelines/verify/onnx-runtime.ts';
import type { OnnxRuntime } from '../../runtime/onnx/onnx-runtime.ts';
import { Builder, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { mapGraph, order } from '../../dsl/graph/walk.ts';
import type { Op } from '../../dsl/graph/op.ts';
import type { Bounded } from '../../pipelines/testing/bounded.ts';
import { evaluateWithError, isWithin } from '../../pipelines/testing/forward-error.ts';
import type { GeneratedFeeds } from '../support/generate.ts';

/** ONNX Runtime's logistic function is a rational approximation, good to an absolute error: small values have few digits. */
function asOnnxRuntime(op: Op): Op {
  return op.kind === 'map' && op.name === 'sigmoid' ? { ...op, accuracy: (y, x) => op.accuracy(y, x) + 2 ** -22 } : op;
}

function withItsAccuracy(graph: Graph): Graph {
  const builder = new Builder();
  const copies = new Map<Node, Node>();
  const copy = (node: Node): Node => copies.get(node) ?? node;
  for (const node of order(graph))
    copies.set(node, builder.make(asOnnxRuntime(node.op), node.inputs.map(copy), node.attrs, node.origin));
  return mapGraph(graph, copy);
}

export interface OnnxVerdict {
  readonly compared: number;
  readonly operators: ReadonlyMap<string, number>;
}

/** Throws at the first element where the two disagree. */
export async function judgeOnnx(
  runtime: OnnxRuntime,
  graph: Graph,
  feeds: GeneratedFeeds,
  options: { readonly plain: boolean },
): Promise<OnnxVerdict> {
  const model = exportOnnx(graph, { plain: options.plain, weights: { read: (path) => feeds.params(path) } });
  const session = await runtime.open(model.bytes);
  try {
    const got = await runExported(session, model, feeds);
    const want = evaluateWithError(withItsAccuracy(graph), feeds);
    let compared = 0;
    for (const [kind, values, exact] of [
      ['output', got.outputs, want.outputs],
      ['state', got.states, want.states],
    ] as const) {
      for (const [name, data] of values) compared += compare(`${kind} '${name}'`, data, exact.get(name));
    }
    return { compared, operators: model.operators };
  } finally {
    await session.close();
  }
}

function compare(what: string, got: Float64Array, want: Bounded | undefined): number {
  if (want?.data.length !== got.length)
    throw new Error(`${what} has ${got.length} elements, not ${want?.data.length ?? 'any'}`);
  for (let i = 0; i < got.length; i++) {
    const [value, exact, error] = [got[i] ?? NaN, want.data[i] ?? NaN, want.error[i] ?? NaN];
    if (!isWithin(value, exact, error))
      throw new Error(
        `${what}: element ${i} of ${got.length} is ${value} in ONNX Runtime, exactly ${exact}, and ${error} is allowed`,
      );
  }
  return got.length;
}
