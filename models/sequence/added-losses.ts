// What a connector adds to the loss of a training.
import { reduce, type Tensor } from '../../dsl/index.ts';
import type { VisualTokens } from '../connectors/visual-tokens.ts';

/**
 * A sum over the labels that count, which are not negative, with the connector's own losses in it: each as much as it is, once the sum is
 * divided by their number.
 */
export function withAddedLosses(
  sum: Tensor<'', 'f32'>,
  labels: Tensor<string, 'i32'>,
  made: VisualTokens | undefined,
): Tensor<'', 'f32'> {
  const added = Object.values(made?.losses ?? {});
  if (added.length === 0) return sum;
  const counted: Tensor<string, 'f32'> = labels.ge(0).cast('f32');
  const pattern: string = `${labels.axes.map(({ name }) => name).join(' ')} -> `;
  const count = reduce(counted, pattern, 'sum').named('');
  return added.reduce<Tensor<'', 'f32'>>((total, loss) => total.add(count.mul(loss.cast('f32'))), sum);
}

/** The losses that a connector adds, as outputs of a graph: their parameters are its own too. */
export function lossesOf({ losses = {} }: VisualTokens): Readonly<Record<string, Tensor>> {
  return Object.fromEntries(Object.entries(losses).map(([name, loss]) => [`loss ${name}`, loss]));
}
