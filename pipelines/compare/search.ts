// Which configuration of a connector is compared: the reference one, or the one of its own knobs that comes nearest to a budget of tokens.
import { desktopGpu } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { withPlacesOfErrors } from '../../dsl/origin.ts';
import type { AnyConnector, MapShape, Preset } from '../../models/connectors/connector.ts';
import { tokenCount } from '../../models/connectors/visual-tokens.ts';
import type { Encoder } from './encoders.ts';
import { counted, traced, type Setting, type Traced } from './cost/measure.ts';

export interface Chosen {
  readonly config: unknown;
  readonly setting: Setting;
  readonly graphs: Traced;
  readonly tokens: number;
  /** What had to be changed for it to fit, in words; '' for nothing. */
  readonly note: string;
}

/** The reference setting of a connector: the first of its presets. */
export function referenceOf(connector: AnyConnector): Preset<unknown> {
  const [preset] = Object.values(connector.presets);
  if (preset === undefined)
    throw new OpabiniaError(`${connector.name} has no preset`, {
      op: 'compare',
      advice: 'presets: { name: { config, maps, width } }',
    });
  return preset;
}

interface Try {
  readonly setting: Setting;
  /** What about it is not as the encoders were given; '' for nothing. */
  readonly note: string;
}

/**
 * Settings to try, in order. A connector of one tower takes the first encoder, and where its configuration wants another width the next;
 * one of several takes all as they are, then on the grid that Cambrian-1 resamples them to.
 */
function settingsFor(connector: AnyConnector, encoders: readonly Encoder[], base: Setting): readonly Try[] {
  const preset = referenceOf(connector);
  const facts = (used: readonly Encoder[]) => used.map(({ heads, classTokens }) => ({ heads, classTokens }));
  if (connector.towers === 'many') {
    const towers = facts(encoders);
    return [
      { setting: { ...base, maps: encoders.map((encoder) => encoder.map), towers }, note: '' },
      {
        setting: { ...base, maps: encoders.map((encoder) => encoder.shared), towers },
        note: 'encoders on a shared grid',
      },
    ];
  }
  const given = encoders.map((encoder) => ({ encoder, map: encoder.map, where: encoder.name }));
  const [rows, columns] = encoders[0]?.shared ?? [1, 1];
  const resampled = encoders.map((encoder) => ({
    encoder,
    map: [rows, columns, encoder.map[2]] as const,
    where: `${encoder.name} resampled to ${rows}×${columns}`,
  }));
  return [...given, ...resampled].map(({ encoder, map, where }, i) => {
    const width = isProjected(preset) ? base.model.width : map[2];
    const seen: MapShape = [map[0], map[1], width];
    // What reads pixels has its own map in its preset.
    const maps = isPicture(preset) ? preset.maps : connector.towers === 'one' ? [seen] : viewsOf(preset, seen);
    const setting = { ...base, picture: preset.picture, maps, towers: facts(maps.map(() => encoder)) };
    return { setting, note: i === 0 ? '' : `on ${where}` };
  });
}

/** The views of the reference setting, as this encoder sees them: as many times the first one's rows and columns. */
function viewsOf({ maps }: Preset<unknown>, map: MapShape): readonly MapShape[] {
  const [rows, columns] = maps[0] ?? [1, 1];
  return maps.map(([r, c]): MapShape => [Math.round((map[0] * r) / rows), Math.round((map[1] * c) / columns), map[2]]);
}

/** Whether its map is as wide as the language model: another connector has made it so. */
function isProjected({ maps, width }: Preset<unknown>): boolean {
  return maps.every(([, , channels]) => channels === width);
}

function isPicture({ maps }: Preset<unknown>): boolean {
  return maps.length === 1 && maps[0]?.[2] === 3;
}

/**
 * The configuration to compare. Without a budget the reference one; where that does not fit the encoders' grids, the variant whose
 * token count is nearest to the reference's own. Throws what building it throws when no variant fits, and `OpabiniaError` where a budget
 * is given and the nearest variant is not within half of it and twice it.
 */
export function choose(
  connector: AnyConnector,
  encoders: readonly Encoder[],
  base: Setting,
  budget: number | undefined,
): Chosen {
  const preset = referenceOf(connector);
  const settings = settingsFor(connector, encoders, base);
  let failure: unknown;
  const attempt = (config: unknown, setting: Setting): Pick<Chosen, 'graphs' | 'tokens'> | undefined => {
    try {
      const graphs = counted(connector, config, setting);
      return { graphs, tokens: tokenCount(graphs.layout) };
    } catch (error) {
      // What does not fit the encoders' grids is one more thing to skip; our own faults are not.
      if (!(error instanceof OpabiniaError)) throw error;
      failure ??= error;
      return undefined;
    }
  };
  if (budget === undefined)
    for (const { setting, note } of settings.slice(0, connector.towers === 'many' ? 2 : 1)) {
      const made = attempt(preset.config, setting);
      if (made !== undefined) return { config: preset.config, setting, ...made, note };
    }
  const wanted = budget ?? referenceTokens(connector);
  let best: Chosen | undefined;
  for (const { setting, note: where } of settings) {
    const configs = [preset.config, fitted(preset, base.model.width)].flatMap((own) => [
      own,
      ...(connector.variants?.(own, wanted, setting.maps) ?? []),
    ]);
    for (const config of configs) {
      const made = attempt(config, setting);
      if (made === undefined) continue;
      if (best === undefined || Math.abs(made.tokens - wanted) < Math.abs(best.tokens - wanted)) {
        const changed = config === preset.config ? '' : changes(preset.config, config);
        best = { config, setting, ...made, note: [changed, where].filter((text) => text !== '').join('; ') };
      }
    }
    // Encoders whose grids have nothing in common leave hardly a choice; on a shared grid there may be one.
    if (best !== undefined && isNear(best, budget)) break;
  }
  const [first] = settings;
  // Once more, for an error that knows its line.
  if (best === undefined && first !== undefined) traced(connector, preset.config, first.setting);
  if (best === undefined) throw failure;
  if (!isNear(best, budget))
    throw new OpabiniaError(`${connector.name} has no variant near ${budget} tokens`, {
      op: 'compare',
      advice: `the nearest has ${best.tokens}${best.note === '' ? '' : ` (${best.note})`}`,
    });
  return best;
}

/** Within half of the budget and twice it; without one, always. */
function isNear({ tokens }: Chosen, budget: number | undefined): boolean {
  return budget === undefined || (tokens <= 2 * budget && tokens >= budget / 2);
}

const known = new WeakMap<AnyConnector, number>();

/** Tokens of the reference setting, on its own maps. */
export function referenceTokens(connector: AnyConnector): number {
  const tokens = known.get(connector) ?? countedTokens(connector);
  known.set(connector, tokens);
  return tokens;
}

function countedTokens(connector: AnyConnector): number {
  const { maps, config, picture, width } = referenceOf(connector);
  const towers = maps.map(() => ({ heads: 16, classTokens: 1 }));
  const model = { name: '', width, layers: 0, layerParameters: 0, attentionWidth: 0 };
  const around = { maps, towers, picture, model, dtype: 'f16', question: 1, profile: desktopGpu } as const;
  // Its own setting fits it, or it is wrong.
  return tokenCount(withPlacesOfErrors(() => traced({ ...connector, inject: undefined }, config, around)).layout);
}

/** The reference configuration for a language model of another width: what was as wide as its own is as wide as this, with as many heads as go with it. */
function fitted({ config, width: from }: Preset<unknown>, to: number): unknown {
  if (typeof config !== 'object' || config === null || from === to) return config;
  const entries = Object.entries(config).map(([key, value]): readonly [string, unknown] => {
    if (value === from) return [key, to];
    return [
      key,
      /^heads$/.test(key) && typeof value === 'number' ? Math.max(1, Math.round((value * to) / from)) : value,
    ];
  });
  // Heads follow only where a width of the configuration does.
  return entries.some(([key, value]) => value === to && key !== 'heads') ? Object.fromEntries(entries) : config;
}

/** `merge 2 → 3`: what differs between two configurations. */
function changes(from: unknown, to: unknown): string {
  if (typeof from !== 'object' || typeof to !== 'object' || from === null || to === null) return '';
  const before = new Map<string, unknown>(Object.entries(from));
  return Object.entries(to)
    .filter(([key, value]) => JSON.stringify(before.get(key)) !== JSON.stringify(value))
    .map(([key, value]) => `${key} ${JSON.stringify(before.get(key))} → ${JSON.stringify(value)}`)
    .join(', ');
}
