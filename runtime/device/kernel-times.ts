// The profile of a program: how long each dispatch took, as a table by model path.
import { requireFields, requireList } from '../../dsl/graph/required.ts';

export interface ProfileRow {
  /** Model path, e.g. `layers.3.attn`. */
  readonly path: string;
  /** What the kernel computes, e.g. `contract+add+gelu`. */
  readonly label: string;
  readonly kernel: string;
  readonly milliseconds: number;
  /** Floating-point operations and bytes moved, at the bound of every symbol. */
  readonly flops: number;
  readonly bytes: number;
}

/**
 * A table of measured kernels. Slowest first, with the share of the whole and the rates reached; `rows` longer than `most` are summed in a last line.
 * @example console.log(profileTable(rows))
 */
export function profileTable(rows: readonly ProfileRow[], most = 40): string {
  requireList('profileTable', rows, 'the rows', 'profileTable(await program.profile(inputs))');
  for (const row of rows)
    requireFields('profileTable', row, { milliseconds: 'number' }, 'a row as profile gives it', 'a row');
  const total = rows.reduce((sum, row) => sum + row.milliseconds, 0);
  const sorted = [...rows].sort((a, b) => b.milliseconds - a.milliseconds);
  const shown = sorted.slice(0, most).map((row) => cells(row, total));
  const rest = sorted.slice(most);
  if (rest.length > 0) {
    shown.push(
      cells(
        {
          path: `… ${rest.length} more`,
          label: '',
          kernel: '',
          milliseconds: sum(rest, (r) => r.milliseconds),
          flops: sum(rest, (r) => r.flops),
          bytes: sum(rest, (r) => r.bytes),
        },
        total,
      ),
    );
  }
  const all = cells(
    {
      path: `all ${rows.length} dispatches`,
      label: '',
      kernel: '',
      milliseconds: total,
      flops: sum(rows, (r) => r.flops),
      bytes: sum(rows, (r) => r.bytes),
    },
    total,
  );
  return printTable(['ms', '%', 'GFLOP/s', 'GB/s', 'path', 'computes', 'kernel'], [...shown, all], 4);
}

function sum(rows: readonly ProfileRow[], of: (row: ProfileRow) => number): number {
  return rows.reduce((total, row) => total + of(row), 0);
}

function cells(row: ProfileRow, total: number): readonly string[] {
  const perSecond = (amount: number): string =>
    row.milliseconds > 0 ? (amount / row.milliseconds / 1e6).toFixed(1) : '-';
  return [
    row.milliseconds.toFixed(3),
    total > 0 ? ((100 * row.milliseconds) / total).toFixed(1) : '-',
    perSecond(row.flops),
    perSecond(row.bytes),
    row.path === '' ? '-' : row.path,
    row.label,
    row.kernel,
  ];
}

/** Columns aligned; the first `right` of them to the right. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[], right: number): string {
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i < right ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return [line(head), ...rows.map(line)].join('\n');
}
