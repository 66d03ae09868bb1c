// The picture of the demo: a row for the queries of the connector and one for each question, a panel for each encoder, dark where nobody looked.
import type { Answered } from './answer-look.ts';
import type { Look } from './look.ts';

export interface LookRow {
  readonly looks: readonly Look[];
  /** What is answered here; the queries of the connector where it is left out. */
  readonly answered?: (Answered & { readonly truth: string }) | undefined;
}

const [panel, gap, line] = [256, 12, 18];

/** Two lines of text, the panels. */
const rowHeight = panel + 2 * line + gap;

/** `picture`: a data URL. `queries`: side of their grid, drawn over the first row, where each query sees its own square. */
export function looksSvg(picture: string, rows: readonly LookRow[], queries: number): string {
  const columns = Math.max(0, ...rows.map(({ looks }) => looks.length));
  const [width, height] = [panel * (columns + 1) + gap * columns, rowHeight * rows.length];
  const drawn = rows.map(({ looks, answered }, r) => {
    const top = r * rowHeight + 2 * line;
    const title =
      answered === undefined
        ? 'each query of the connector, in its square'
        : `${answered.question} ${answered.answer}${answered.answer === answered.truth ? '' : ` (it is ${answered.truth})`}`;
    const panels = looks.map(({ encoder, side, weights }, k) => {
      const left = (k + 1) * (panel + gap);
      return `${image(picture, left, top)}${cells(weights, side, left, top)}${answered === undefined ? grid(queries, left, top) : ''}${text(encoder, left, top - 5)}`;
    });
    return `${image(picture, 0, top)}${text(title, 0, top - line - 4)}${panels.join('')}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"><rect width="100%" height="100%" fill="#fff"/>${drawn.join('')}</svg>`;
}

function image(picture: string, x: number, y: number): string {
  return `<image href="${picture}" x="${x}" y="${y}" width="${panel}" height="${panel}" style="image-rendering:pixelated"/>`;
}

function text(words: string, x: number, y: number): string {
  return `<text x="${x}" y="${y}" font-family="sans-serif" font-size="13" fill="#222">${escaped(words)}</text>`;
}

/** Shade over every cell, as much as it was looked at less than the one that was looked at most. */
function cells(weights: readonly number[], side: number, left: number, top: number): string {
  const most = Math.max(Number.MIN_VALUE, ...weights);
  const size = panel / side;
  return weights
    .map((weight, i) => {
      const [x, y] = [left + (i % side) * size, top + Math.floor(i / side) * size];
      return `<rect x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${size.toFixed(2)}" height="${size.toFixed(2)}" fill="#000" fill-opacity="${(0.88 * (1 - weight / most)).toFixed(3)}"/>`;
    })
    .join('');
}

function grid(side: number, left: number, top: number): string {
  return Array.from({ length: side - 1 }, (_, i) => {
    const at = ((i + 1) * panel) / side;
    return `<path d="M${left + at} ${top}v${panel}M${left} ${top + at}h${panel}" stroke="#fff" stroke-width="1"/>`;
  }).join('');
}

function escaped(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
