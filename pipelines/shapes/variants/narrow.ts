// Released configurations are made for language models of thousands of channels: the same connector for a decoder of some tens.
import { OpabiniaError, randomParams, roleOf, trace, type Float } from '../../../dsl/index.ts';
import { nameOf } from '../../../dsl/ops/source.ts';
import { order } from '../../../dsl/graph/walk.ts';
import { withoutPlaces, withPlacesOfErrors } from '../../../dsl/origin.ts';
import type { AnyConnector, MapShape } from '../../../models/connectors/connector.ts';
import { connect, type Connect } from '../../../models/connectors/connector.ts';
import type { Shapes } from '../../../models/configs/param-shapes.ts';
import { questionsPerPicture } from '../train/presets.ts';
import { tokenCount } from '../../../models/connectors/visual-tokens.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Numbers from here on are taken for widths. */
const leastWidth = 256;

type Leaf = (value: number, key: string) => number;

/** The configuration in narrower and narrower forms until one can be built: widths first, then heads and depth too. */
function forms(config: unknown, width: number): readonly unknown[] {
  const isWidth = (value: number, key: string) =>
    Number.isInteger(value) && value >= leastWidth && !/tile|image|theta|position/i.test(key);
  const widths: Leaf = (value, key) => (isWidth(value, key) ? width : value);
  const shallow: Leaf = (value, key) => {
    if (/^(layers|depth)$/i.test(key)) return Math.min(value, 2);
    if (/heads$/i.test(key)) return Math.min(value, 4);
    if (/headSize|headWidth/i.test(key)) return Math.min(value, width / 4);
    return widths(value, key);
  };
  return [changed(config, shallow), changed(config, widths), config];
}

function changed(value: unknown, leaf: Leaf, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => changed(item, leaf, key));
  if (typeof value === 'number') return leaf(value, key);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([own, inner]) => [own, changed(inner, leaf, own)]));
}

export interface Fitted {
  readonly config: unknown;
  readonly tokens: number;
  readonly used: Connect;
}

/**
 * The configuration for these maps and this width whose token count is nearest to what is asked for. Throws what building it throws when
 * none fits, and `OpabiniaError` where the nearest is not within half of it and twice it. SVA's layers inside the language model stay
 * off unless the changes turn them on.
 */
export function fit(
  connector: AnyConnector,
  maps: readonly MapShape[],
  {
    width,
    tokens,
    changes = {},
  }: {
    readonly width: number;
    readonly tokens: number;
    readonly changes?: Readonly<Record<string, unknown>> | undefined;
  },
): Fitted {
  let failure: unknown;
  let best: Fitted | undefined;
  for (const { config: own } of Object.values(connector.presets)) {
    const configs = [own, ...(connector.variants?.(own, tokens, maps) ?? [])];
    for (const config of configs.map((one) => withChanges(one, changes))) {
      // What is asked for is not made smaller.
      const narrowed = forms(config, width).map((form) => withChanges(form, changes));
      const found = firstThatBuilds(connector, narrowed, maps, width);
      if (found instanceof OpabiniaError) failure ??= found;
      else if (best === undefined || Math.abs(found.tokens - tokens) < Math.abs(best.tokens - tokens)) best = found;
    }
    if (best !== undefined) break;
  }
  if (best === undefined) throw failure;
  if (best.tokens > 2 * tokens || best.tokens < tokens / 2)
    throw new OpabiniaError(`${connector.name} has no variant near ${plural(tokens, 'token')}`, {
      op: 'shapes',
      advice: `the nearest has ${best.tokens}`,
    });
  return best;
}

function withChanges(config: unknown, changes: Readonly<Record<string, unknown>>): unknown {
  if (typeof config !== 'object' || config === null) return config;
  const inside = 'inside' in config ? { inside: undefined } : {};
  return { ...config, ...inside, ...changes };
}

function firstThatBuilds(
  connector: AnyConnector,
  configs: readonly unknown[],
  maps: readonly MapShape[],
  width: number,
): Fitted | OpabiniaError {
  let failure: OpabiniaError | undefined;
  for (const config of configs)
    try {
      const used = connect(connector, config);
      // Of several only the first is told about, with its line.
      const counting = failure === undefined ? withPlacesOfErrors : withoutPlaces;
      return { config, used, tokens: counting(() => tokensOf(used, maps, width)) };
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      failure ??= error;
    }
  return failure ?? new OpabiniaError(`${connector.name} has no preset`, { op: 'shapes' });
}

function tokensOf(used: Connect, maps: readonly MapShape[], width: number): number {
  let count = 0;
  trace(
    randomParams(0),
    (t) => {
      const inputs = maps.map(([h, w, c], k) => t.input<'b h w c', Float>(`map_${k}`, 'b h w c', { b: 1, h, w, c }));
      const made = used.build(t.params, inputs, {
        width,
        pictures: [{ width: 64, height: 64 }],
        question: () => t.input('question', 'b t e', { b: 1, t: questionsPerPicture, e: width }),
      });
      count = tokenCount(made.layout);
      return { tokens: made.tokens };
    },
    { unread: 'ignore' },
  );
  return count;
}

/** Names and shapes of the parameters that a graph reads. */
export function shapesRead(graph: ReturnType<typeof trace>): Shapes {
  return new Map(
    order(graph)
      .filter((node) => roleOf(node) === 'param')
      .map((node) => [nameOf(node), node.type.axes.map(({ size }) => (typeof size === 'number' ? size : 1))]),
  );
}
