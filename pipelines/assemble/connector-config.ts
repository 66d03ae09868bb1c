// A connector's configuration as a config.json has it: of the kind that the connector's own are, and within bounds.
import { nearestNames, OpabiniaError } from '../../dsl/index.ts';
import { connect, type AnyConnector, type Connect } from '../../models/connectors/connector.ts';
import { zoo } from '../compare/registry.ts';

/** Numbers and lists of a configuration from a file are no larger. */
const most = { number: 2 ** 20, items: 4_096, text: 200 } as const;

/** The connector of this name that reads maps alone. Throws `OpabiniaError` for an unknown one, and for one that acts inside the language model. */
export async function connectorNamed(name: string, where: string): Promise<AnyConnector> {
  const all = (await zoo()).map(({ connector }) => connector);
  const found = all.find((connector) => connector.name === name);
  if (found === undefined)
    throw new OpabiniaError(`${where} names the connector '${name.slice(0, 80)}', which is not known`, {
      op: 'connector',
      advice: `the nearest are ${nearestNames(
        name.slice(0, 80),
        all.map((one) => one.name),
      ).join(', ')}; \`opabinia compare\` lists all`,
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
