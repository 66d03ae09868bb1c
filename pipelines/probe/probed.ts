// What a probe has found: rows of towers and settings, their runs, what their differences show; as text and JSON.
import { formatCount, formatTable } from '../../dsl/text/table.ts';
import { accuracy, difference, verdict, type Counts, type Interval } from '../statistics/intervals.ts';

/** How a row was trained. */
export interface Setting {
  readonly frozen: boolean;
  readonly stages: 1 | 2;
}

/** The rate of towers that learn, beside that of all else: LLaVA-NeXT's 2e-6 beside 1e-5. At the full rate they lose what they know. */
export const towerRate = 0.2;

/** Right answers and questions, picture by picture. */
export type SliceCounts = Readonly<Record<string, Counts>>;

export interface ProbedRun {
  readonly seed: number;
  readonly steps: number;
  readonly seconds: number;
  /** By slice, and `all`. */
  readonly counts: SliceCounts;
}

export interface ProbedRow {
  /** Names of the towers; empty for the blind one. */
  readonly towers: readonly string[];
  readonly setting: Setting;
  readonly tokens: number;
  /** That learn. */
  readonly parameters: number;
  readonly runs: readonly ProbedRun[];
}

export interface Probed {
  /** What was probed, in a line. */
  readonly about: string;
  readonly slices: readonly string[];
  readonly rows: readonly ProbedRow[];
  readonly failed: readonly { readonly name: string; readonly reason: string }[];
  /** False where it was told to stop. */
  readonly complete: boolean;
}

export function rowName({ towers, setting }: Pick<ProbedRow, 'towers' | 'setting'>): string {
  const name = towers.length === 0 ? 'blind' : towers.join('+');
  return [name, ...(setting.frozen ? [] : ['unfrozen']), ...(setting.stages === 2 ? ['two stages'] : [])].join(' ');
}

/** By slice; `all` first. */
export function accuracies(row: ProbedRow, slices: readonly string[]): Readonly<Record<string, Interval>> {
  return Object.fromEntries(
    ['all', ...slices].map((slice) => [slice, accuracy(row.runs.flatMap(({ counts }) => counts[slice] ?? []))]),
  );
}

const same = (a: Setting, b: Setting): boolean => a.frozen === b.frozen && a.stages === b.stages;
const sameTowers = (a: ProbedRow, b: ProbedRow): boolean => a.towers.join('+') === b.towers.join('+');

/** The rows that a row is set against: each of its towers alone, the same frozen, the same in one stage. */
function references(row: ProbedRow, rows: readonly ProbedRow[]): readonly ProbedRow[] {
  return rows.filter((other) => {
    if (other === row) return false;
    if (row.towers.length > 1 && other.towers.length === 1 && same(row.setting, other.setting))
      return row.towers.includes(other.towers[0] ?? '');
    if (!sameTowers(row, other)) return false;
    const { frozen, stages } = row.setting;
    return (
      (!frozen && other.setting.frozen && other.setting.stages === stages) ||
      (stages === 2 && other.setting.stages === 1 && other.setting.frozen === frozen)
    );
  });
}

function differenceOf(row: ProbedRow, other: ProbedRow, slice: string): Interval | undefined {
  const shared = row.runs.flatMap((run) => {
    const theirs = other.runs.find(({ seed }) => seed === run.seed);
    const [a, b] = [run.counts[slice], theirs?.counts[slice]];
    return a === undefined || b === undefined ? [] : [{ a, b }];
  });
  if (shared.length === 0) return undefined;
  return difference(
    shared.map(({ a }) => a),
    shared.map(({ b }) => b),
  );
}

/** What the rows show of one another, in words. */
export function verdicts({ rows, slices }: Probed): readonly string[] {
  const told: string[] = [];
  const blind = rows.find(({ towers }) => towers.length === 0);
  for (const row of rows) {
    if (row === blind) continue;
    const gain = blind === undefined ? undefined : differenceOf(row, blind, 'all');
    if (gain !== undefined && !(gain.low > 0))
      told.push(`${rowName(row)} does not pass the blind baseline: this budget is too small to say anything about it`);
    for (const other of references(row, rows)) {
      const open: string[] = [];
      for (const slice of ['all', ...slices]) {
        const found = differenceOf(row, other, slice);
        if (found === undefined || !Number.isFinite(found.mean)) continue;
        if (found.low <= 0 && found.high >= 0) open.push(slice);
        else told.push(`${rowName(row)} against ${rowName(other)}, ${slice}: ${verdict(found)}`);
      }
      if (open.length > 0)
        told.push(`${rowName(row)} against ${rowName(other)}, ${open.join(', ')}: no difference shown`);
    }
  }
  return told;
}

/** Accuracy by slice with half of its 95 % interval, costs, and what the differences show. */
export function printProbed(probed: Probed): string {
  const { about, slices, rows, failed, complete } = probed;
  const short = ({ mean, low, high }: Interval): string =>
    Number.isFinite(mean) ? `${mean.toFixed(3)} ±${((high - low) / 2).toFixed(3)}` : '–';
  const columns = ['all', ...slices];
  const parts = [
    `${about}; accuracy with half of its 95 % interval`,
    '',
    formatTable(
      [
        { title: 'towers' },
        { title: 'trained' },
        { title: 'seeds', align: 'right' },
        ...columns.map((title) => ({ title, align: 'right' as const })),
        { title: 'tokens', align: 'right' },
        { title: 'learning', align: 'right' },
        { title: 'steps', align: 'right' },
        { title: 'seconds', align: 'right' },
      ],
      rows.map((row) => {
        const found = accuracies(row, slices);
        return [
          row.towers.length === 0 ? 'blind' : row.towers.join('+'),
          `${row.setting.frozen ? 'frozen' : 'unfrozen'}, ${row.setting.stages === 1 ? 'one stage' : 'two stages'}`,
          String(row.runs.length),
          ...columns.map((column) => {
            const own = found[column];
            return own === undefined ? '–' : short(own);
          }),
          String(row.tokens),
          formatCount(row.parameters),
          [...new Set(row.runs.map(({ steps }) => steps))].join('–'),
          (row.runs.reduce((sum, { seconds }) => sum + seconds, 0) / Math.max(1, row.runs.length)).toFixed(0),
        ];
      }),
    ),
    '',
    ...verdicts(probed),
    ...failed.map(({ name, reason }) => `${name} was not trained: ${reason}`),
  ];
  if (rows.some(({ runs }) => runs.length === 1))
    parts.push('One seed: the intervals are over pictures alone, and another seed may differ by more.');
  if (!complete) parts.push('Interrupted: the same command goes on.');
  return parts.join('\n');
}

export function probedJson(probed: Probed): unknown {
  const { about, slices, rows, failed, complete } = probed;
  return {
    about,
    complete,
    rows: rows.map((row) => ({
      towers: row.towers,
      ...row.setting,
      tokens: row.tokens,
      parameters: row.parameters,
      runs: row.runs.map(({ seed, steps, seconds }) => ({ seed, steps, seconds })),
      accuracy: accuracies(row, slices),
    })),
    verdicts: verdicts(probed),
    failed,
  };
}
