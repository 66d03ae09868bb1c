// How far a download is, on one line.
import type { FetchProgress } from '../runtime/checkpoint/fetch.ts';
import { printable } from '../runtime/text/printable.ts';
import { printBytes } from '../runtime/device/memory-budget.ts';

/** A line that is rewritten on a terminal, and a new one every ten seconds elsewhere. */
export function progressLine(
  stream: { readonly isTTY?: boolean | undefined; write(text: string): unknown },
  now: () => number = () => performance.now(),
): (progress: FetchProgress) => void {
  let last = -Infinity;
  return ({ file, done, total }) => {
    const finished = done === total;
    if (!finished && now() - last < (stream.isTTY === true ? 100 : 10_000)) return;
    last = now();
    const line = `${(total === 0 ? 100 : (100 * done) / total).toFixed(0).padStart(3)} %  ${printBytes(done)} of ${printBytes(total)}  ${file}`;
    const text = printable(line);
    stream.write(stream.isTTY === true ? `\r\x1b[2K${text}${finished ? '\n' : ''}` : `${text}\n`);
  };
}
