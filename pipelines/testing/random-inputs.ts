// Inputs for a graph, drawn from a seed.
import { fixedElements } from '../../dsl/axis/axes.ts';
import { roleOf, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Input } from '../../runtime/program/program.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import { uniform } from '../statistics/uniform.ts';
import { requireGraph, requireOptions } from '../../dsl/graph/required.ts';

/**
 * Values for every input of a graph that is not in `given`: floats from a normal distribution, whole numbers from 0 to 7, true and
 * false alike. Throws `OpabiniaError` for an input of symbolic size, whose size nobody said.
 * @example const outputs = await interpret(graph, params).run(randomInputs(graph))
 */
export function randomInputs(
  graph: Graph,
  given: Readonly<Record<string, Input>> = {},
  seed = 1,
): Readonly<Record<string, Input>> {
  requireGraph('randomInputs', graph);
  requireOptions('randomInputs', given, '{ mask }', 'the given inputs');
  const draw = uniform(seed);
  const drawn = order(graph)
    .filter((node) => roleOf(node) === 'input' && given[nameOf(node)] === undefined)
    .map((node): [string, Input] => [nameOf(node), valuesFor(node, draw)]);
  return { ...Object.fromEntries(drawn), ...given };
}

function valuesFor(node: Node, draw: () => number): number[] {
  const { axes, dtype } = node.type;
  const symbolic = axes.find((axis) => typeof axis.size !== 'number');
  if (symbolic !== undefined)
    throw new OpabiniaError(`the input '${nameOf(node)}' has no size along '${symbolic.name}' yet`, {
      op: 'randomInputs',
      advice: 'give its values',
    });
  const count = fixedElements(axes);
  // Box and Muller; 1 - u is never 0.
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
  return Array.from({ length: count }, () =>
    isFloat(dtype) ? normal() : dtype === 'bool' ? Number(draw() < 0.5) : Math.floor(8 * draw()),
  );
}
