// Connectors side by side on the same encoders and the same language model, before anything runs.
import type { DeviceProfile } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Float } from '../../dsl/index.ts';
import type { Encoder } from './encoders.ts';
import type { ReadingModel } from './language-models.ts';
import { keepsOfAll } from './sight/keeps.ts';
import { costOf, type Cost, type Setting } from './measure.ts';
import type { Listed } from './registry.ts';
import { choose } from './search.ts';
import type { Keeps } from './sight/sight.ts';

export interface CompareOptions {
  readonly encoders: readonly Encoder[];
  readonly model: ReadingModel;
  readonly profile: DeviceProfile;
  readonly dtype: Float;
  /** Visual tokens that each connector's knobs are turned towards. */
  readonly tokens?: number | undefined;
  /** Tokens of the question. */
  readonly question: number;
  /** Whether to find out what each keeps, which takes as long as all the rest, on another thread; true unless told otherwise. */
  readonly look?: boolean | undefined;
}

export interface Row {
  readonly listed: Listed;
  readonly config: unknown;
  readonly note: string;
  readonly cost: Cost;
  /** What of the picture's order survives; undefined where no small map fits it. */
  readonly keeps: Keeps | undefined;
}

/** A connector that could not be compared, and why. */
export interface Refused {
  readonly listed: Listed;
  readonly reason: OpabiniaError;
}

export interface Comparison {
  readonly options: CompareOptions;
  readonly rows: readonly Row[];
  readonly refused: readonly Refused[];
}

/** Compares what is listed. What does not fit the encoders, or has no variant near the budget, is told apart and does not stop the others. */
export async function compareConnectors(
  listed: readonly Listed[],
  options: CompareOptions,
  note: (name: string) => void = () => undefined,
): Promise<Comparison> {
  const seeing = options.look === false ? new Map<string, Keeps>() : keepsOfAll(listed);
  const rows: Omit<Row, 'keeps'>[] = [];
  const refused: Refused[] = [];
  for (const one of listed) {
    note(one.connector.name);
    try {
      rows.push(compareOne(one, options));
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      refused.push({ listed: one, reason: error });
    }
  }
  const keeps = await seeing;
  return { options, rows: rows.map((row) => ({ ...row, keeps: keeps.get(row.listed.connector.name) })), refused };
}

function compareOne(listed: Listed, options: CompareOptions): Omit<Row, 'keeps'> {
  const { model, profile, dtype, question } = options;
  const base: Setting = { maps: [], towers: [], model, profile, dtype, question };
  const { config, setting, note } = choose(listed.connector, options.encoders, base, options.tokens);
  return { listed, config, note, cost: costOf(listed.connector, config, setting) };
}
