// A graph as an ONNX model: inputs, states and symbols as its inputs; outputs and written states as its outputs; parameters as initializers.
import { elementsOf, namesOf } from '../../dsl/axis/axes.ts';
import { create, toBinary } from '@bufbuild/protobuf';
import { printSize, sizesEqual, symbolSize, type Axis, type SizeSymbol } from '../../dsl/axis/axis.ts';
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import { describe, type Graph, type Node, type Update } from '../../dsl/graph/graph.ts';
import { requireGraph } from '../../dsl/graph/required.ts';
import { order, readersOf } from '../../dsl/graph/walk.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { symbolsOf } from '../../dsl/graph/symbols.ts';
import { costOf } from '../cost.ts';
import { fusedAt } from './fused.ts';
import {
  GraphProtoSchema,
  ModelProtoSchema,
  OperatorSetIdProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
  type ValueInfoProto,
} from './gen/onnx_pb.js';
import { cannotExport, NodeExporter } from './node-exporter.ts';
import { castTo, elementOf, roundBf16 } from './maps.ts';
import { type Value } from './ordered-tensor.ts';
import { contrib, Element, opset, property, Writer, type Source } from './writer.ts';
import { nameOf, extentOf, valuesOf } from '../../dsl/ops/source.ts';
import { Parameters } from './parameters.ts';
import type { ExportOptions, OnnxModel, Port } from './onnx-model.ts';
import type { Fused } from './fused-operator.ts';

/**
 * The model. A symbol that no input's shape shows is an input of its own (int64, no axes). Throws `OpabiniaError` for a node that
 * ONNX has no operators for, and when the embedded parameters are more than a model file can hold.
 * @example const { bytes } = exportOnnx(graph, { weights: params })
 */
export function exportOnnx(graph: Graph, options: ExportOptions): OnnxModel {
  requireGraph('exportOnnx', graph);
  return new Exporter(graph, options).run();
}

class Exporter {
  readonly #graph: Graph;
  readonly #options: ExportOptions;
  readonly #writer = new Writer();
  readonly #exporter: NodeExporter;
  readonly #parameters: Parameters;
  readonly #nodes: readonly Node[];
  readonly #fused = new Map<Node, Fused>();
  readonly #inputs: Port[] = [];
  readonly #outputs: Port[] = [];

  constructor(graph: Graph, options: ExportOptions) {
    this.#graph = graph;
    this.#options = options;
    this.#nodes = order(graph);
    this.#parameters = new Parameters(this.#writer, options.weights);
    this.#exporter = new NodeExporter(
      this.#writer,
      (node) => this.#produce(node),
      (tensor, order) => this.#parameters.reordered(tensor, order),
    );
  }

  run(): OnnxModel {
    for (const name of ['input', 'state']) for (const node of this.#nodes) if (node.op.name === name) this.#input(node);
    this.#bindSymbols();
    // Names that the user gave come before those that we make.
    const outputs = [...this.#graph.outputs].map(([name, node]) => ({ name, node, tensor: this.#writer.unique(name) }));
    const states = [...Map.groupBy(this.#graph.updates, (update) => update.state)].map(([state, updates]) => ({
      state,
      updates,
      tensor: this.#writer.unique(`${nameOf(state)}.next`),
    }));
    for (const node of this.#nodes) if (node.op.kind === 'source' && !this.#exporter.has(node)) this.#produce(node);
    if (this.#options.plain !== true) this.#findComposites();
    const needed = this.#needed();
    const normed = new Map<Node, Node>();
    for (const node of needed.toReversed()) {
      const sum = this.#fused.get(node)?.sum;
      if (sum !== undefined) normed.set(sum, node);
    }
    // A broadcast is written when somebody reads it as a tensor; a sum together with the first norm of it.
    for (const node of needed)
      if (!this.#exporter.has(node) && node.op.name !== 'broadcast') this.#produce(normed.get(node) ?? node);
    for (const { name, node, tensor } of outputs)
      this.#output('output', name, node.type.dtype, node.type.axes, this.#exporter.declared(node), tensor);
    for (const { state, updates, tensor } of states)
      this.#output('state', nameOf(state), state.type.dtype, state.type.axes, this.#updated(state, updates), tensor);
    return this.#finish();
  }

  // ---- inputs ----------------------------------------------------------------------------------------------------

  #input(node: Node): void {
    const { dtype, axes } = node.type;
    const tensor = this.#writer.unique(nameOf(node));
    this.#inputs.push({ kind: node.op.name === 'state' ? 'state' : 'input', name: nameOf(node), tensor, dtype, axes });
    this.#writer.within(sourceOf(node), [], () => {
      const inner =
        dtype === 'u32'
          ? castTo(this.#writer, tensor, Element.INT64)
          : dtype === 'bf16'
            ? roundBf16(this.#writer, tensor)
            : tensor;
      this.#exporter.set(node, { tensor: inner, axes });
    });
  }

  /** A symbol's value is read off the shape of an input where one shows it, by itself or in a product of known ones. */
  #bindSymbols(): void {
    const open = new Map(symbolsOf(this.#graph, 'export').map((symbol) => [symbol.name, symbol]));
    const bind = (symbol: SizeSymbol, value: () => string): void => {
      open.delete(symbol.name);
      this.#writer.within(
        { path: symbol.name, doc: `the symbol ${symbol.name}, ${symbol.least} to ${symbol.bound}`, properties: [] },
        [],
        () => {
          this.#writer.bindSymbol(symbol, value());
        },
      );
    };
    while (open.size > 0) {
      const found = [...open.values()].flatMap((symbol) => this.#shown(symbol, open) ?? [])[0];
      const [symbol] = open.values();
      if (found !== undefined) bind(found.symbol, found.value);
      else if (symbol !== undefined) bind(symbol, () => this.#symbolInput(symbol));
    }
  }

  /** The axis of an input whose size is this symbol and others that are not `open`, and how the value comes from it. */
  #shown(
    symbol: SizeSymbol,
    open: ReadonlyMap<string, SizeSymbol>,
  ): { readonly symbol: SizeSymbol; readonly value: () => string } | undefined {
    const writer = this.#writer;
    for (const { axes, tensor } of this.#inputs) {
      for (const [place, { size }] of axes.entries()) {
        if (typeof size === 'number') continue;
        const [term, ...more] = size.terms;
        const own = term?.symbols.filter((factor) => open.has(factor.name));
        if (term === undefined || more.length > 0 || own?.length !== 1 || own[0]?.name !== symbol.name) continue;
        // A factor that is 0 says nothing of the others.
        const others = term.symbols.filter((factor) => factor.name !== symbol.name);
        if (others.some((factor) => factor.least === 0)) continue;
        const value = (): string => {
          const whole = writer.emit('Shape', [tensor], { start: BigInt(place), end: BigInt(place + 1) });
          const rest = size.constant === 0 ? whole : writer.emit('Sub', [whole, writer.ints([size.constant])]);
          return [...(term.times === 1 ? [] : [term.times]), ...others.map(symbolSize)].reduce<string>(
            (quotient, by) => writer.emit('Div', [quotient, writer.size(by)]),
            rest,
          );
        };
        return { symbol, value };
      }
    }
    return undefined;
  }

  #symbolInput({ name }: SizeSymbol): string {
    const tensor = this.#writer.unique(name);
    this.#inputs.push({ kind: 'symbol', name, tensor, dtype: 'i64', axes: [] });
    return this.#writer.emit('Unsqueeze', [tensor, this.#writer.ints([0])]);
  }

  // ---- nodes -----------------------------------------------------------------------------------------------------

  #findComposites(): void {
    const readers = readersOf(this.#nodes);
    const leaving = new Set<Node>([
      ...this.#graph.outputs.values(),
      ...this.#graph.updates.map((update) => update.value),
    ]);
    const around = { readers: (node: Node) => readers.get(node) ?? [], leaves: (node: Node) => leaving.has(node) };
    for (const node of this.#nodes) {
      const fused = fusedAt(node, around);
      if (fused !== undefined) this.#fused.set(node, fused);
    }
  }

  /** Nodes that something reads, once composites read their operands and not their insides. */
  #needed(): readonly Node[] {
    const needed = new Set<Node>();
    const stack = [...this.#graph.outputs.values(), ...this.#graph.updates.map((update) => update.value)];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (needed.has(node)) continue;
      needed.add(node);
      stack.push(...(this.#fused.get(node)?.operands ?? node.inputs));
    }
    return this.#nodes.filter((node) => needed.has(node));
  }

  #produce(node: Node): void {
    const fused = this.#fused.get(node);
    const costs = (fused?.nodes ?? [node]).map(costOf);
    const total = (key: 'flops' | 'bytes'): string => String(costs.reduce((sum, cost) => sum + cost[key], 0));
    this.#writer.within(
      sourceOf(node),
      [
        ['flops', total('flops')],
        ['bytes', fused === undefined ? total('bytes') : String(moved(fused, node))],
      ],
      () => {
        if (fused !== undefined) fused.lower(this.#exporter, node);
        else this.#exporter.set(node, node.op.kind === 'source' ? this.#source(node) : this.#exporter.lower(node));
      },
    );
  }

  #source(node: Node): Value {
    const { dtype, axes } = node.type;
    const writer = this.#writer;
    switch (node.op.name) {
      case 'param':
      case 'packed':
        return { tensor: this.#parameters.tensor(node.type.dtype, nameOf(node), fixedSizes(node)), axes };
      case 'const':
        return {
          tensor: writer.constant(elementOf[dtype], fixedSizes(node), valuesOf(node) ?? []),
          axes,
        };
      case 'extent':
        return { tensor: castTo(writer, writer.scalarSize(extentOf(node) ?? 0), elementOf[dtype]), axes };
      case 'iota': {
        const length = axes[0]?.size ?? 0;
        if (typeof length === 'number')
          return {
            tensor: writer.constant(
              elementOf[dtype],
              [length],
              Array.from({ length }, (_, i) => i),
            ),
            axes,
          };
        return {
          tensor: castTo(
            writer,
            writer.emit('Range', [writer.int(0), writer.scalarSize(length), writer.int(1)]),
            elementOf[dtype],
          ),
          axes,
        };
      }
      default:
        throw cannotExport(node, 'this source is not known');
    }
  }

  // ---- outputs ---------------------------------------------------------------------------------------------------

  #output(kind: Port['kind'], name: string, dtype: DType, axes: readonly Axis[], from: string, tensor: string): void {
    const outer = dtype === 'u32' ? castTo(this.#writer, from, Element.UINT32) : from;
    this.#outputs.push({ kind, name, tensor, dtype, axes });
    this.#writer.nameOutput(outer, tensor);
  }

  /** The state after its updates, one after the other. */
  #updated(state: Node, updates: readonly Update[]): string {
    let current = this.#exporter.declared(state);
    for (const update of updates) {
      this.#writer.within(sourceOf(update.value), [], () => {
        current = this.#written({ tensor: current, axes: state.type.axes }, update, 0);
      });
    }
    return current;
  }

  /** `old` with the update's value in its range of the axes from `place` on: what stands before, the new part, what stands behind. */
  #written(old: Value, update: Update, place: number): string {
    const axis = old.axes[place];
    const value = this.#exporter.declared(update.value);
    if (axis === undefined) return value;
    const count = update.value.type.axes[place]?.size ?? 0;
    const start = update.at.get(axis.name) ?? 0;
    if (start === 0 && sizesEqual(count, axis.size)) return this.#written(old, update, place + 1);
    const writer = this.#writer;
    const later = old.axes
      .slice(place + 1)
      .some(
        (other, i) =>
          (update.at.get(other.name) ?? 0) !== 0 ||
          !sizesEqual(update.value.type.axes[place + 1 + i]?.size ?? 0, other.size),
      );
    const part = (from: string, to: string): string =>
      writer.emit('Slice', [old.tensor, from, to, writer.ints([place])]);
    const end = writer.emit('Add', [writer.size(start), writer.size(count)]);
    const middle = later
      ? this.#written(
          {
            tensor: part(writer.size(start), end),
            axes: old.axes.map((other, i) => (i === place ? { name: other.name, size: count } : other)),
          },
          update,
          place + 1,
        )
      : value;
    return writer.emit(
      'Concat',
      [part(writer.ints([0]), writer.size(start)), middle, part(end, writer.ints([2 ** 31 - 1]))],
      { axis: BigInt(place) },
    );
  }

  // ---- the model -------------------------------------------------------------------------------------------------

  #finish(): OnnxModel {
    const writer = this.#writer;
    const nodes = writer.finished();
    this.#parameters.finish(nodes);
    // What composites read in another form, or nobody: ONNX Runtime warns of each when it loads the model.
    const read = new Set(nodes.flatMap((node) => node.input));
    const graph = create(GraphProtoSchema, {
      name: this.#options.name ?? 'graph',
      node: [...nodes],
      initializer: writer.initializers.filter(({ name }) => read.has(name)),
      input: this.#inputs.map(valueInfo),
      output: this.#outputs.map(valueInfo),
    });
    const model = create(ModelProtoSchema, {
      irVersion: 10n,
      producerName: 'opabinia',
      graph,
      opsetImport: [['', opset], ...(writer.domains.has(contrib) ? ([[contrib, 1]] as const) : [])].map(
        ([domain, version]) =>
          create(OperatorSetIdProtoSchema, { domain: String(domain), version: BigInt(version ?? 0) }),
      ),
      metadataProps: this.#outputs
        .filter((port) => port.kind === 'state')
        .map((port) =>
          property(
            `state ${port.name}`,
            `${this.#inputs.find((input) => input.kind === 'state' && input.name === port.name)?.tensor ?? ''} -> ${port.tensor}`,
          ),
        ),
    });
    const operators = new Map<string, number>();
    for (const node of nodes) operators.set(node.opType, (operators.get(node.opType) ?? 0) + 1);
    return { bytes: toBinary(ModelProtoSchema, model), inputs: this.#inputs, outputs: this.#outputs, operators };
  }
}

function sourceOf(node: Node): Source {
  const { path, place } = node.origin;
  return { path, doc: describe(node), properties: place === undefined ? [] : [['source', place]] };
}

/** Bytes that one operator reads and writes. */
function moved(fused: Fused, node: Node): number {
  return [node, ...fused.operands].reduce((sum, { type }) => sum + elementsOf(type.axes) * dtypeBytes(type.dtype), 0);
}

function fixedSizes(node: Node): readonly number[] {
  return node.type.axes.map((axis) => {
    if (typeof axis.size !== 'number')
      throw cannotExport(node, `axis '${axis.name}' of stored numbers has the symbolic size ${printSize(axis.size)}`);
    return axis.size;
  });
}

function valueInfo({ tensor, dtype, axes }: Port): ValueInfoProto {
  const elemType = dtype === 'i64' ? Element.INT64 : dtype === 'u32' ? Element.UINT32 : elementOf[dtype];
  const dim = axes.map((axis) =>
    create(TensorShapeProto_DimensionSchema, {
      denotation: axis.name,
      value:
        typeof axis.size === 'number'
          ? { case: 'dimValue', value: BigInt(axis.size) }
          : { case: 'dimParam', value: printSize(axis.size).toWellFormed() },
    }),
  );
  const tensorType = create(TypeProto_TensorSchema, { elemType, shape: create(TensorShapeProtoSchema, { dim }) });
  return create(ValueInfoProtoSchema, {
    name: tensor,
    type: create(TypeProtoSchema, { value: { case: 'tensorType', value: tensorType } }),
    docString: namesOf(axes).join(' '),
  });
}
