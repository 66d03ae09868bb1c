// Several nodes as one operator of ONNX.
import type { Node } from '../../dsl/graph/graph.ts';
import type { NodeExporter } from './node-exporter.ts';

export interface Fused {
  /** What it reads. */
  readonly operands: readonly Node[];
  /** What it stands for, itself included. */
  readonly nodes: readonly Node[];
  /** A sum in front that it gives as well, when it is the first to need it. */
  readonly sum?: Node | undefined;
  /** Sets the value of the node, and of others that the operator gives besides. */
  readonly lower: (exporter: NodeExporter, node: Node) => void;
}
