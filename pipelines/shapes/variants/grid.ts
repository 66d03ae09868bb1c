// `--grid D=1,2,3`: one variant of a connector for every value, named by it.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { AnyConnector, MapShape } from '../../../models/connectors/connector.ts';
import { fit } from './narrow.ts';
import type { Variant } from './variant.ts';

export interface GridPoint {
  readonly key: string;
  readonly value: string;
}

/**
 * `D=1,2,3` or `D=1,2 G=1,2`: all combinations, each a list of settings. Throws `OpabiniaError` for a text that is not one, and for
 * a value that no connector can have: nobody trains for minutes to be told of it.
 */
export function readGrid(texts: readonly string[]): readonly (readonly GridPoint[])[] {
  const axes = texts
    .flatMap((text) => text.split(/[\s;]+/))
    .filter((text) => text !== '')
    .map((text) => {
      const [, key = '', values = ''] = /^([A-Za-z]\w*)=([^=]+)$/.exec(text) ?? [];
      const list = values.split(',').filter((value) => value !== '');
      if (key === '' || list.length === 0)
        throw new OpabiniaError(`--grid is '${text}'`, {
          op: 'shapes',
          advice: 'a setting and its values: --grid D=1,2,3',
        });
      for (const value of list) checkValue(key, value);
      return list.map((value) => ({ key, value }));
    });
  return axes.reduce<readonly (readonly GridPoint[])[]>(
    (all, axis) => all.flatMap((points) => axis.map((point) => [...points, point])),
    [[]],
  );
}

/** The maps that a connector reads without settings. */
export function readsOf(connector: AnyConnector): Variant['reads'] {
  return connector.towers === 'many' ? 'both' : 'folded';
}

/**
 * A connector at one point of the grid. `D` is its depth, `G` its groups of queries, `inside` whether SVA goes on in the decoder (0 or 1),
 * `encoders` how many it reads (1: the coarse one); any other key is a field of its configuration. Throws what building it throws.
 */
export function variantAt(
  connector: AnyConnector,
  points: readonly GridPoint[],
  {
    width,
    tokens,
    maps,
    layers,
  }: {
    readonly width: number;
    readonly tokens: number;
    readonly layers: number;
    readonly maps: (reads: Variant['reads']) => readonly MapShape[];
  },
): Variant {
  let reads = readsOf(connector);
  const changes: Record<string, unknown> = {};
  for (const { key, value } of points)
    switch (key) {
      case 'encoders':
        if (value === '1') reads = 'coarse';
        break;
      case 'frozen':
      case 'stages':
        throw new OpabiniaError(
          `--grid ${key}=${value}: variants of a comparison share frozen encoders and one stage`,
          {
            op: 'shapes',
            advice: `compare them with \`opabinia probe --towers shapes:0+shapes:1 --connector ${connector.name} ${key === 'frozen' ? '--train frozen,unfrozen' : '--stages 1,2'}\``,
          },
        );
      case 'inside':
        if (value !== '0') changes['inside'] = { start: 0, stride: 1, count: Math.max(1, layers - 1) };
        break;
      case 'D':
        changes[fieldOf(connector, ['depth', 'layers'], key)] = numberOf(key, value);
        break;
      case 'G': {
        const side = Math.max(1, Math.round(Math.sqrt(tokens)));
        changes[fieldOf(connector, ['groups'], key)] = Array.from({ length: numberOf(key, value) }, () => side);
        break;
      }
      default:
        changes[fieldOf(connector, [key], key)] = parsed(value);
    }
  const { config, used, tokens: count } = fit(connector, maps(reads), { width, tokens, changes });
  const name = [connector.name, ...points.map(({ key, value }) => `${key}=${value}`)].join(' ');
  return { name, used, config, tokens: count, reads, control: false };
}

function fieldOf(connector: AnyConnector, names: readonly string[], key: string): string {
  const [preset] = Object.values(connector.presets);
  const config = preset?.config;
  const fields = typeof config === 'object' && config !== null ? Object.keys(config) : [];
  const found = names.find((name) => fields.includes(name));
  if (found !== undefined) return found;
  throw new OpabiniaError(`${connector.name} has no setting '${key}'`, {
    op: 'shapes',
    advice: fields.length === 0 ? 'it has none' : `it has ${fields.join(', ')}`,
  });
}

function checkValue(key: string, value: string): void {
  const refuse = (advice: string): OpabiniaError =>
    new OpabiniaError(`--grid ${key}=${value}`, { op: 'shapes', advice });
  if (key === 'D' || key === 'G') numberOf(key, value);
  if (key === 'encoders' && value !== '1' && value !== '2') throw refuse('there are two: 1 or 2');
  if (key === 'inside' && value !== '0' && value !== '1') throw refuse('0 or 1');
}

function numberOf(key: string, value: string): number {
  const number = Number(value);
  if (Number.isInteger(number) && number >= 1 && number <= 16) return number;
  throw new OpabiniaError(`--grid ${key}=${value}`, { op: 'shapes', advice: 'whole numbers from 1 to 16' });
}

function parsed(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
