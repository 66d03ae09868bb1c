// Ratios to a peer as an SVG: a bar a case on a logarithmic axis, to the right where we are faster.
import type { Results } from './results.ts';
import { printRatio, ratioTo } from './table.ts';

const [row, left, width, right, top] = [22, 210, 420, 60, 44];

/** Bars of every case in which both were measured. Empty when there is none. */
export function ratioChart(results: Results, peer: string): string {
  const bars = results.cases.flatMap((one) => {
    const ratio = ratioTo(one, peer);
    return ratio === undefined ? [] : [{ name: one.name, ratio }];
  });
  if (bars.length === 0) return '';
  // Whole powers of two around all the ratios, and 1 always among them.
  const low = Math.floor(Math.min(-1, ...bars.map(({ ratio }) => Math.log2(ratio))));
  const high = Math.ceil(Math.max(1, ...bars.map(({ ratio }) => Math.log2(ratio))));
  const x = (ratio: number): number => left + ((Math.log2(ratio) - low) / (high - low)) * width;
  const height = top + bars.length * row + 12;
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 2 ** (low + i))
    .map(
      (value) => `
  <line x1="${fixed(x(value))}" x2="${fixed(x(value))}" y1="${top - 6}" y2="${height - 10}" stroke="${value === 1 ? '#444' : '#ddd'}"/>
  <text x="${fixed(x(value))}" y="${top - 10}" text-anchor="middle" fill="#555">${value >= 1 ? value : `1/${1 / value}`}</text>`,
    )
    .join('');
  const drawn = bars
    .map(({ name, ratio }, i) => {
      const [from, to] = ratio >= 1 ? [x(1), x(ratio)] : [x(ratio), x(1)];
      const y = top + i * row;
      return `
  <text x="${left - 8}" y="${y + 14}" text-anchor="end">${escape(name)}</text>
  <rect x="${fixed(from)}" y="${y + 3}" width="${fixed(Math.max(1, to - from))}" height="${row - 8}" fill="${ratio >= 1 ? '#3a7d5c' : '#b5533c'}"/>
  <text x="${fixed(ratio >= 1 ? to + 4 : from - 4)}" y="${y + 14}" text-anchor="${ratio >= 1 ? 'start' : 'end'}" fill="#333">${printRatio(ratio)}</text>`;
    })
    .join('');
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${left + width + right} ${height}" font-family="system-ui, sans-serif" font-size="12">
  <rect width="100%" height="100%" fill="#fff"/>
  <text x="8" y="16" font-weight="600">time of ${escape(peer)} over ours, ${escape(results.adapter)}</text>${ticks}${drawn}
</svg>
`;
}

function fixed(value: number): string {
  return value.toFixed(1);
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
