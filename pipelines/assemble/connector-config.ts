// A connector's configuration as a config.json has it: of the kind that the connector's own are, and within bounds.
import { createHash } from 'node:crypto';
import { OpabiniaError } from '../../dsl/index.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import { connect, type AnyConnector, type Connect } from '../../models/connectors/connector.ts';
import type { ConnectorFacts } from '../../models/connectors/traced.ts';
import { print } from '../../dsl/text/print.ts';
import { zoo } from '../compare/registry.ts';

/** Numbers and lists of a configuration from a file are no larger. */
const most = { number: 2 ** 20, items: 4_096, text: 200 } as const;

/** Of a person's own connector: the file that it was in when a model was assembled with it. */
interface OwnFile {
  readonly file: string;
}

/**
 * The connector of this name that reads maps alone, of the zoo or of `own`. Throws `OpabiniaError` for an unknown one, for one that acts inside
 * the language model, and for one of `own` that is called like one of the zoo.
 */
export async function connectorNamed(
  name: string,
  where: string,
  own: readonly AnyConnector[] = [],
  from?: OwnFile,
): Promise<AnyConnector> {
  const all = (await zoo()).map(({ connector }) => connector);
  const twice = own.find((one) => all.some((other) => other.name === one.name));
  if (twice !== undefined)
    throw new OpabiniaError(`your connector '${twice.name}' is called like one of the zoo`, {
      op: 'connector',
      advice: 'give it a name of its own',
    });
  const found = (from === undefined ? [...own, ...all] : own).find((connector) => connector.name === name);
  if (found === undefined && from !== undefined)
    throw new OpabiniaError(`${where} names the connector '${name}', which is not of the zoo`, {
      op: 'connector',
      advice: `it was assembled with ${from.file}: give that file, --connectors ${from.file}, or openModel(…, { connectors }); code is run from files that you name alone`,
    });
  if (found === undefined)
    throw new OpabiniaError(`${where} names the connector '${name.slice(0, 80)}', which is not known`, {
      op: 'connector',
      advice: nameAdvice(
        name,
        all.map((one) => one.name),
        '`opabinia compare` lists all; a file of your own begins with ./',
      ),
    });
  const refuse = (what: string, or = ''): OpabiniaError =>
    new OpabiniaError(`${where}: '${name}' ${what}`, {
      op: 'connector',
      advice: `take a connector that makes tokens of one map a tower${or}`,
    });
  if (found.inject !== undefined)
    throw refuse(
      'acts inside the language model, which an assembled one does not let it',
      ', or sva, which acts inside and has a layout of its own',
    );
  if (found.towers === 'views') throw refuse('reads several views, tiles or layers of one tower');
  return found;
}

/** The connector in a configuration that a file has. Throws `OpabiniaError` for one that is of another kind than the connector's own. */
export function connectStored(from: AnyConnector, config: unknown, where: string): Connect {
  const own = Object.values(from.presets).map((preset) => preset.config);
  const wrong = difference(config, own, 'connector.config');
  if (wrong === undefined) return connect(from, config);
  throw new OpabiniaError(`${where}: ${wrong}`, {
    op: 'connector',
    advice: `configurations of '${from.name}' are like ${JSON.stringify(own[0])?.slice(0, 300) ?? 'none'}`,
  });
}

/** A hash of what a connector computes: of another one it is another connector, whose weights would mean something else. */
export function hashOf({ graph }: Pick<ConnectorFacts, 'graph'>): string {
  return createHash('sha256').update(print(graph)).digest('hex');
}

/** What about `value` is not as in any of `known`; undefined for nothing. */
function difference(value: unknown, known: readonly unknown[], path: string): string | undefined {
  const like = known.filter((one) => kindOf(one) === kindOf(value));
  if (like.length === 0) return `${path} is ${kindOf(value)}`;
  if (typeof value === 'number' && !(Math.abs(value) <= most.number)) return `${path} is ${value}`;
  if (typeof value === 'string' && value.length > most.text) return `${path} has ${value.length} characters`;
  if (Array.isArray(value)) {
    if (value.length > most.items) return `${path} has ${value.length} entries`;
    const items = like.flatMap((one) => one as readonly unknown[]);
    if (items.length === 0) return value.length === 0 ? undefined : `${path} is not empty`;
    return firstOf(value.map((item: unknown, i) => difference(item, items, `${path}[${i}]`)));
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = like.flatMap((one) => Object.entries(one as object)) as readonly (readonly [string, unknown])[];
  return firstOf(
    Object.entries(value).map(([key, item]) => {
      const same = fields.filter(([name]) => name === key).map(([, field]) => field as unknown);
      return same.length === 0
        ? `${path} has the unknown field '${key.slice(0, 80)}'`
        : difference(item, same, `${path}.${key}`);
    }),
  );
}

const firstOf = (all: readonly (string | undefined)[]): string | undefined => all.find((one) => one !== undefined);

function kindOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}
