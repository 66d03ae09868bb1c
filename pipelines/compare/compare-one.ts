// One connector on given encoders and a language model: its figures, and what it keeps.
import type { DeviceProfile } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Float } from '../../dsl/index.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import type { Encoder } from './encoders.ts';
import type { ReadingModel } from './language-models.ts';
import { costOf, type Cost, type Setting } from './cost/measure.ts';
import { choose } from './search.ts';
import { keepsOf, sightOf, type Keeps } from './sight/sight.ts';

/** Plain values: they cross threads. */
export interface CompareOptions {
  readonly encoders: readonly Encoder[];
  readonly model: ReadingModel;
  readonly profile: DeviceProfile;
  readonly dtype: Float;
  /** Visual tokens that each connector's knobs are turned towards. */
  readonly tokens?: number | undefined;
  /** Tokens of the question. */
  readonly question: number;
  /** Whether to find out what it keeps; true unless told otherwise. */
  readonly look?: boolean | undefined;
}

export interface Compared {
  readonly config: unknown;
  readonly note: string;
  readonly cost: Cost;
  /** What of the picture's order survives; undefined where no small map fits it, or nobody looked. */
  readonly keeps: Keeps | undefined;
}

/** Throws `OpabiniaError` for a connector that fits none of the encoders, or has no variant near the budget. */
export function compareOne(connector: AnyConnector, options: CompareOptions): Compared {
  const { model, profile, dtype, question } = options;
  const base: Setting = { maps: [], towers: [], model, profile, dtype, question };
  const { config, setting, graphs, note } = named(connector, () =>
    choose(connector, options.encoders, base, options.tokens),
  );
  const cost = costOf(graphs, setting);
  return { config, note, cost, keeps: options.look === false ? undefined : kept(connector) };
}

/** With the connector's name in what an op of it refuses: several may be compared. */
function named<T>({ name }: AnyConnector, build: () => T): T {
  try {
    return build();
  } catch (error) {
    if (!(error instanceof OpabiniaError) || error.what.includes(name)) throw error;
    const { op, path, place, advice, what } = error;
    // What follows the first line are operands or the pattern with its mark.
    throw new OpabiniaError(
      what.replace(/^.*/, (first) => `${first}, in the connector '${name}'`),
      { op, path, place, advice, cause: error },
    );
  }
}

function kept(connector: AnyConnector): Keeps | undefined {
  try {
    const sight = sightOf(connector);
    return sight === undefined ? undefined : keepsOf(sight);
  } catch (error) {
    // What no small map fits has figures all the same.
    if (error instanceof OpabiniaError) return undefined;
    throw error;
  }
}
