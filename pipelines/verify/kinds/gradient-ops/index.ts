// Golden kind `grad.ops`: many small cases in one file, each an op with its operands, its value and their gradients.
import { nearestNames, OpabiniaError } from '../../../../dsl/error.ts';
import { gradients, trace, type DType, type Graph, type Tensor, type Trace } from '../../../../dsl/index.ts';
import type { ConfigReader } from '../../../../models/configs/config-reader.ts';
import type { Numbers } from '../../../../runtime/program/numbers.ts';
import { largestOf } from '../../golden-gradients.ts';
import type { GoldenFile } from '../../golden-file.ts';
import type { Kind } from '../../kind.ts';
import { called, namesOf, reducedOver, type Case, type OpOf, type T } from './case.ts';
import { images } from './images.ts';
import { pointwise } from './pointwise.ts';
import { reductions } from './reductions.ts';
import { sequences } from './sequences.ts';
import { shapes } from './shapes.ts';

const ops: ReadonlyMap<string, OpOf> = new Map(
  Object.entries({ ...pointwise, ...reductions, ...shapes, ...images, ...sequences }),
);

export const opGradients: Kind = (file) => {
  const cases = file.config.list('cases');
  const inputs = new Map<string, Numbers>();
  const graph: Graph = trace(
    file.checkpoint,
    (t) => Object.assign({}, ...cases.map((entry) => outputsOf(t, file, entry, inputs))) as Record<string, Tensor>,
    { unread: 'ignore' },
  );
  return {
    graph,
    inputs,
    host: new Map(),
    gradients: true,
    // Per tensor 2e-5 of its largest element, as the file says.
    tolerance: (output) => {
      const expected = file.numbers(output.startsWith('grad.') ? output : `output.${output}`);
      return { absolute: 2e-5 * Math.max(largestOf(expected), 1e-3), relative: 0 };
    },
  };
};

/** The value of one case, `{case}.y`, and its gradients, `grad.input.{case}.{operand}`. */
function outputsOf(
  t: Trace,
  file: GoldenFile,
  entry: ConfigReader,
  inputs: Map<string, Numbers>,
): Record<string, Tensor> {
  const name = entry.text('name');
  const op = ops.get(entry.text('op'));
  if (op === undefined)
    throw new OpabiniaError(`the case '${name}' is of the unknown op '${entry.text('op')}'`, {
      op: 'verify',
      advice: `the nearest known are ${nearestNames(entry.text('op'), ops.keys()).join(', ')}`,
    });
  const operands = new Map<string, Tensor>();
  const given = (full: string, dtype: DType): Tensor => {
    const shape = file.shape(full);
    const axes = shape.map((_, i) => `a${i}`);
    inputs.set(full, file.numbers(full));
    return t.input<string, DType>(
      full,
      axes.join(' '),
      Object.fromEntries(axes.map((axis, i) => [axis, shape[i] ?? 1])),
      dtype,
    );
  };
  const listed = entry.list('inputs');
  for (const operand of listed) {
    const stated = operand.text('dtype');
    const dtype: DType = stated === 'bool' ? 'bool' : stated.startsWith('int') ? 'i32' : 'f32';
    operands.set(operand.text('name'), given(`input.${name}.${operand.text('name')}`, dtype));
  }
  const read = <D extends DType>(operand: string, names?: string): T<D> => {
    const x = operands.get(operand);
    if (x === undefined) throw new OpabiniaError(`the case '${name}' has no operand '${operand}'`, { op: 'verify' });
    return names === undefined ? (x as T<D>) : called(x as T<D>, names);
  };
  const attrs = entry.inner('attrs') ?? entry;
  const one: Case = {
    t,
    attrs,
    x: (operand, names) => read<'f32'>(operand, names),
    whole: (operand, names) => read<'i32'>(operand, names),
    bool: (operand, names) => read<'bool'>(operand, names),
    has: (operand) => operands.has(operand),
    names: [...operands.keys()],
  };
  const y = op(one) as T;
  const upstream = given(`upstream.${name}.y`, 'f32') as T;
  const weighted = y.mul(called(upstream, namesOf(y).join(' ')));
  const loss = reducedOver(
    weighted,
    weighted.axes.map((_, i) => i),
    'sum',
  );
  const wrt = listed.filter((operand) => operand.flag('differentiable', false)).map((operand) => operand.text('name'));
  const found = gradients(
    loss,
    wrt.map((operand) => read(operand)),
    { unused: 'zeros' },
  );
  return Object.fromEntries([
    [`${name}.y`, y],
    ...found.map((gradient, i) => [`grad.input.${name}.${wrt[i] ?? ''}`, gradient]),
  ]) as Record<string, Tensor>;
}
