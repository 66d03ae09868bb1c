// The race as tables: one row a case and peer for a terminal, Markdown for the documentation.
import { formatTable } from '../dsl/text/table.ts';
import type { CaseResult, Measured, PeerResult, Results } from './results.ts';

export interface Rates {
  readonly gigaflops: number;
  readonly gigabytes: number;
  /** Time that the device's roofline allows, over the time taken. */
  readonly share: number;
}

/** What a case took, against what the device can do. */
export function ratesOf(one: CaseResult, { time }: Measured, roofline: Results['roofline']): Rates {
  const seconds = time.median / 1000;
  const least = Math.max(one.flops / roofline.flopsPerSecond, one.bytes / roofline.bytesPerSecond);
  return { gigaflops: one.flops / seconds / 1e9, gigabytes: one.bytes / seconds / 1e9, share: least / seconds };
}

/** Their time over ours: above 1 we are faster. Undefined unless both were measured. */
export function ratioTo(one: CaseResult, peer: string): number | undefined {
  const [ours, theirs] = [one.peers['ours'], one.peers[peer]];
  return ours?.status === 'measured' && theirs?.status === 'measured'
    ? theirs.time.median / ours.time.median
    : undefined;
}

export function printMilliseconds(value: number): string {
  return value >= 100
    ? value.toFixed(0)
    : value >= 10
      ? value.toFixed(1)
      : value >= 1
        ? value.toFixed(2)
        : value.toFixed(3);
}

export function printRatio(ratio: number | undefined): string {
  return ratio === undefined ? '–' : `${ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(2)}×`;
}

const mebibytes = (bytes: number | undefined): string =>
  bytes === undefined ? '–' : (bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 2 : 0);

const header = [
  'case',
  'peer',
  'ms',
  'min',
  'quartiles',
  'runs',
  'first',
  'theirs/ours',
  'GFLOP/s',
  'GB/s',
  'roofline',
  'dispatches',
  'device MiB',
  'process MiB',
  'error',
  'remarks',
] as const;

/** Cells of every case and peer, in the order of `header`. */
function rowsOf(results: Results): readonly (readonly string[])[] {
  return results.cases.flatMap((one) => {
    if (one.absent !== undefined) return [[one.name, '', ...header.slice(3).map(() => ''), one.absent]];
    return Object.entries(one.peers).map(([peer, result]) => [
      one.name,
      peer,
      ...cellsOf(one, peer, result, results.roofline),
    ]);
  });
}

function cellsOf(one: CaseResult, peer: string, result: PeerResult, roofline: Results['roofline']): readonly string[] {
  const blank = header.slice(3).map(() => '');
  switch (result.status) {
    case 'measured': {
      const { time, first, dispatches, deviceBytes, processPeak, error, notes, rates } = result;
      const { gigaflops, gigabytes, share } = ratesOf(one, result, roofline);
      const more = Object.entries(rates ?? {}).map(([name, value]) => `${value.toPrecision(3)} ${name}`);
      return [
        printMilliseconds(time.median),
        printMilliseconds(time.least),
        `${printMilliseconds(time.lower)}–${printMilliseconds(time.upper)}`,
        String(time.count),
        printMilliseconds(first),
        peer === 'ours' ? '' : printRatio(ratioTo(one, peer)),
        ...(one.flops > 0
          ? [gigaflops.toFixed(1), gigabytes.toFixed(1), `${(100 * share).toFixed(0)} %`]
          : ['–', '–', '–']),
        dispatches === undefined ? '–' : String(dispatches),
        mebibytes(deviceBytes),
        mebibytes(processPeak),
        error === undefined ? '–' : error.relative.toExponential(1),
        [...more, ...notes].join('; '),
      ];
    }
    case 'failed':
    case 'wrong':
      return [...blank, `${result.status}: ${oneLine(result.message)}`];
    case 'left':
      return [...blank, oneLine(result.message)];
    default:
      return result satisfies never;
  }
}

function oneLine(text: string): string {
  const line = text
    .split('\n')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join(' ');
  return line.length > 160 ? `${line.slice(0, 159)}…` : line;
}

/** For a terminal. */
export function racePrint(results: Results): string {
  const columns = header.map((title, i) => ({
    title,
    align: i >= 2 && i < header.length - 1 ? ('right' as const) : ('left' as const),
  }));
  return `${formatTable(columns, rowsOf(results))}\n\nroofline: ${rooflineText(results)}`;
}

export function rooflineText({ roofline }: Results): string {
  return `${(roofline.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s of multiply-adds in registers, ${(roofline.bytesPerSecond / 1e9).toFixed(1)} GB/s copied, f32`;
}

/** Markdown; bars in cells are escaped. */
export function raceMarkdown(results: Results): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [
    line(header),
    line(header.map((_, i) => (i >= 2 && i < header.length - 1 ? '--:' : '---'))),
    ...rowsOf(results).map(line),
  ].join('\n');
}
