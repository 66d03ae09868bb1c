// A connector on maps so small that the interpreter is quick, in a configuration that fits them.
import { graphCost } from '../../../compiler/cost.ts';
import { OpabiniaError, randomParams, trace, type Graph, type Tensor, type Trace } from '../../../dsl/index.ts';
import { withoutPlaces } from '../../../dsl/origin.ts';
import type { AnyConnector, MapShape } from '../../../models/connectors/connector.ts';
import { tokenCount, type Layout, type VisualTokens } from '../../../models/connectors/visual-tokens.ts';
import { languageModelNamed } from '../language-models.ts';
import { referenceOf, referenceTokens } from '../search.ts';
import { madeContext } from '../cost/surroundings.ts';

/** Views or towers that are looked at; more show nothing new. */
const mostMaps = 3;
const channels = 8;
/** What the interpreter does in some seconds. */
const mostFlops = 3e8;
/** Width of the language model around it. */
export const smallWidth = 8;

export interface Small {
  readonly config: unknown;
  readonly shapes: readonly MapShape[];
  readonly tokens: number;
}

/**
 * Maps of the first of `sides` that fits, with the connector's knobs turned so that it has about as many tokens for each cell as its
 * reference setting. Undefined where no small map fits it.
 */
export function smallSetting(connector: AnyConnector, sides: readonly number[] = [6, 8, 4, 12, 24]): Small | undefined {
  const preset = referenceOf(connector);
  const [rows, columns] = preset.maps[0] ?? [1, 1];
  const cells = (maps: readonly MapShape[]) => maps.reduce((sum, [h, w]) => sum + h * w, 0);
  for (const side of sides) {
    const shapes = preset.maps
      .slice(0, mostMaps)
      .map(([r, c, own]): MapShape => [
        Math.max(1, Math.round((r / rows) * side)),
        Math.max(1, Math.round((c / columns) * side)),
        own === 3 ? 3 : channels,
      ]);
    const wanted = Math.max(1, (referenceTokens(connector) / cells(preset.maps)) * cells(shapes));
    const made = [preset.config, ...(connector.variants?.(preset.config, Math.round(wanted), shapes) ?? [])]
      .map((config) => firstFit(connector, narrowed(config), shapes))
      .filter((small) => small !== undefined);
    const distance = ({ tokens }: Small) => Math.abs(Math.log(tokens / wanted));
    const [best] = made.toSorted((x, y) => distance(x) - distance(y));
    if (best !== undefined) return best;
  }
  return undefined;
}

/** The same configuration in forms that are quick to compute with, the quickest first; which of them is one, building it shows. */
function narrowed(config: unknown): readonly unknown[] {
  const widths = (own: number) => (value: unknown, key: string) =>
    typeof value === 'number' && Number.isInteger(value) && value >= 256 && !/tile|image/i.test(key) ? own : value;
  const shallow = (own: number) => (value: unknown, key: string) => {
    if (typeof value !== 'number') return value;
    if (/^(layers|depth)$/i.test(key)) return Math.min(value, 2);
    return /heads$/i.test(key) ? Math.min(value, 2) : widths(own)(value, key);
  };
  // 48 divides by most numbers of heads.
  return [
    changed(config, shallow(8)),
    changed(config, shallow(16)),
    changed(config, widths(8)),
    changed(config, widths(48)),
    config,
  ];
}

function changed(value: unknown, leaf: (value: unknown, key: string) => unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => changed(item, leaf, key));
  if (typeof value !== 'object' || value === null) return leaf(value, key);
  return Object.fromEntries(Object.entries(value).map(([own, inner]) => [own, changed(inner, leaf, own)]));
}

function firstFit(
  connector: AnyConnector,
  configs: readonly unknown[],
  shapes: readonly MapShape[],
): Small | undefined {
  for (const config of configs) {
    const small = attempt(connector, config, shapes);
    if (small !== undefined) return small;
  }
  return undefined;
}

function attempt(connector: AnyConnector, config: unknown, shapes: readonly MapShape[]): Small | undefined {
  try {
    const { graph, layout } = withoutPlaces(() =>
      smallGraph(connector, { config, shapes }, 1, ({ tokens }) => ({ tokens })),
    );
    const cells = (shapes[0]?.[0] ?? 1) * (shapes[0]?.[1] ?? 1);
    // Looking takes a picture for each cell, on the interpreter.
    if (graphCost(graph).flops * (cells + 1) > mostFlops) return undefined;
    return { config, shapes, tokens: tokenCount(layout) };
  } catch (error) {
    if (error instanceof OpabiniaError) return undefined;
    throw error;
  }
}

/** The graph of what `outputs` makes of its tokens, for `b` pictures, in f32. */
export function smallGraph(
  connector: AnyConnector,
  { config, shapes }: Pick<Small, 'config' | 'shapes'>,
  b: number,
  outputs: (made: VisualTokens, t: Trace) => Readonly<Record<string, Tensor>>,
): { readonly graph: Graph; readonly layout: Layout } {
  const around = {
    maps: shapes,
    towers: shapes.map(() => ({ heads: 2, classTokens: 1 })),
    model: { ...languageModelNamed('llama-3-8b'), width: smallWidth },
    dtype: 'f32' as const,
    question: 2,
    batch: b,
  };
  let layout: Layout = [];
  const graph = trace(
    randomParams(7),
    (t) => {
      const maps = shapes.map(([h, w, c], k) => t.input(`map_${k}`, 'b h w c', { b, h, w, c }));
      const made = connector.build(t.params, maps, config, madeContext(t, around));
      ({ layout } = made);
      return outputs(made, t);
    },
    { unread: 'ignore' },
  );
  return { graph, layout };
}
