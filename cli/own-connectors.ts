// `--connectors`: files of a person's own connectors, for the commands that open a model which was assembled with one.
import { Option } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import type { AnyConnector } from '../models/connectors/connector.ts';
import { isPath, listed } from '../pipelines/compare/registry.ts';

export interface ConnectorsFlags {
  readonly connectors?: readonly string[] | undefined;
}

export function connectorsOption(): Option {
  return new Option(
    '--connectors <files...>',
    'files of your own connectors, ./mine.ts, for a model that was assembled with one',
  );
}

/** Throws `OpabiniaError` for what is no file, does not load, or exports no connector. */
export async function ownConnectors({ connectors }: ConnectorsFlags): Promise<readonly AnyConnector[] | undefined> {
  if (connectors === undefined) return undefined;
  const name = connectors.find((given) => !isPath(given));
  if (name !== undefined)
    throw new OpabiniaError(`--connectors is given '${name}', which is no file`, {
      op: 'connectors',
      advice: 'give your own, ./mine.ts; those of the zoo are found by themselves',
    });
  return (await listed(connectors)).map(({ connector }) => connector);
}
