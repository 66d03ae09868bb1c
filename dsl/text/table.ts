// Text tables for terminals: columns as wide as their content, numbers to the right.

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** Lines of a table with a ruled header; every row has one cell a column. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((column, i) => Math.max(column.title.length, ...rows.map((row) => (row[i] ?? '').length)));
  const line = (cells: readonly string[]) =>
    columns
      .map((column, i) =>
        column.align === 'right' ? (cells[i] ?? '').padStart(widths[i] ?? 0) : (cells[i] ?? '').padEnd(widths[i] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [
    line(columns.map((column) => column.title)),
    widths.map((width) => '─'.repeat(width)).join('  '),
    ...rows.map(line),
  ].join('\n');
}

/** `1.23 G`, `456 k`, `7`: three digits and a decimal prefix. */
export function formatCount(count: number): string {
  const prefixes = ['', ' k', ' M', ' G', ' T', ' P'];
  let power = 0;
  let value = count;
  while (Math.abs(value) >= 999.5 && power < prefixes.length - 1) {
    value /= 1000;
    power++;
  }
  return `${power === 0 ? String(Math.round(value)) : value.toPrecision(3)}${prefixes[power] ?? ''}`;
}

/** `1.5e-7` for a small number, `0` for none. */
export function formatError(value: number): string {
  return value === 0 ? '0' : value.toExponential(1);
}
