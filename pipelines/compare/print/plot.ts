// Tokens against arithmetic, one mark a connector: a picture without a library.
import { formatCount } from '../../../dsl/text/table.ts';
import type { Comparison } from '../compare.ts';

interface Mark {
  readonly name: string;
  readonly family: string;
  readonly x: number;
  readonly y: number;
}

const [width, height] = [1200, 760];
const margin = { left: 90, right: 190, top: 50, bottom: 70 };
const colours = [
  '#1b6ca8',
  '#c8553d',
  '#2a9d6f',
  '#7b4fa3',
  '#b08900',
  '#d1477f',
  '#4a7c8c',
  '#6b6b6b',
  '#8f5a2b',
  '#3d5a1e',
];
const letter = { width: 6.1, height: 13 };

/** Tokens to the right, FLOP of connector and prefill upwards, both on logarithmic scales. Labels are moved until none covers another. */
export function comparisonSvg({ options, rows }: Comparison): string {
  const families = [...new Set(rows.map((row) => row.listed.family))];
  const points = rows.map(({ listed, cost }) => ({
    name: listed.connector.name,
    family: listed.family,
    tokens: Math.max(1, cost.tokensOut),
    flops: Math.max(1, cost.forward + cost.prefill),
  }));
  const xs = scale(
    points.map(({ tokens }) => tokens),
    [margin.left, width - margin.right],
  );
  const ys = scale(
    points.map(({ flops }) => flops),
    [height - margin.bottom, margin.top],
  );
  const marks = points.map(({ name, family, tokens, flops }) => ({ name, family, x: xs.at(tokens), y: ys.at(flops) }));
  const colour = (family: string) => colours[families.indexOf(family) % colours.length] ?? '#000';
  const text = (x: number, y: number, content: string, more = '') =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped(content)}</text>`;
  const title = `Visual tokens against FLOP of connector and prefill: ${options.encoders.map(({ name }) => name).join(', ')} to ${options.model.name}`;
  const grid = [
    ...xs.ticks.map((tick) => {
      const x = xs.at(tick);
      return `<line x1="${x.toFixed(1)}" y1="${margin.top}" x2="${x.toFixed(1)}" y2="${height - margin.bottom}" stroke="#ddd"/>${text(x, height - margin.bottom + 18, String(tick), 'text-anchor="middle"')}`;
    }),
    ...ys.ticks.map((tick) => {
      const y = ys.at(tick);
      return `<line x1="${margin.left}" y1="${y.toFixed(1)}" x2="${width - margin.right}" y2="${y.toFixed(1)}" stroke="#ddd"/>${text(margin.left - 8, y + 4, formatCount(tick), 'text-anchor="end"')}`;
    }),
  ];
  const labels = placed(marks).map(({ mark, x, y }) => {
    // To the nearest point of the label, so that no line crosses its letters.
    const end = {
      x: Math.max(x, Math.min(mark.x, x + mark.name.length * letter.width)),
      y: Math.max(y - letter.height + 3, Math.min(mark.y, y + 2)),
    };
    const far = Math.hypot(end.x - mark.x, end.y - mark.y) > 9;
    const line = far
      ? `<line x1="${mark.x.toFixed(1)}" y1="${mark.y.toFixed(1)}" x2="${end.x.toFixed(1)}" y2="${end.y.toFixed(1)}" stroke="#999" stroke-width="0.6"/>`
      : '';
    return `${line}<circle cx="${mark.x.toFixed(1)}" cy="${mark.y.toFixed(1)}" r="4" fill="${colour(mark.family)}"/>${text(x, y, mark.name, `fill="${colour(mark.family)}"`)}`;
  });
  const legend = families.map((family, i) => {
    const y = margin.top + 18 * i;
    return `<circle cx="${width - margin.right + 24}" cy="${y}" r="4" fill="${colour(family)}"/>${text(width - margin.right + 34, y + 4, family)}`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(margin.left, 26, title, 'font-size="14"'),
    ...grid,
    ...labels,
    ...legend,
    text((margin.left + width - margin.right) / 2, height - 22, 'visual tokens', 'text-anchor="middle" font-size="13"'),
    text(24, height / 2, 'FLOP', 'font-size="13"'),
    '</svg>',
  ].join('\n');
}

interface Scale {
  at(value: number): number;
  readonly ticks: readonly number[];
}

/** A logarithmic scale with ticks at 1, 2 and 5 of every decade that it reaches. */
function scale(values: readonly number[], [from, to]: readonly [number, number]): Scale {
  const [low, high] = [Math.min(...values) * 0.8, Math.max(...values) * 1.25];
  const at = (value: number) => from + ((to - from) * Math.log(value / low)) / Math.log(high / low);
  const decades = Array.from({ length: 20 }, (_, i) => 10 ** i);
  const ticks = decades.flatMap((ten) => [ten, 2 * ten, 5 * ten]).filter((tick) => tick >= low && tick <= high);
  return { at, ticks };
}

interface Placed {
  readonly mark: Mark;
  readonly x: number;
  readonly y: number;
}

/** For each mark the nearest free place for its label, on circles around it. */
function placed(marks: readonly Mark[]): readonly Placed[] {
  const taken: { x: number; y: number; w: number; h: number }[] = marks.map(({ x, y }) => ({
    x: x - 5,
    y: y - 5,
    w: 10,
    h: 10,
  }));
  const isFree = (box: (typeof taken)[number]) =>
    box.x > margin.left &&
    box.x + box.w < width - margin.right + 10 &&
    box.y > margin.top - 20 &&
    box.y + box.h < height - margin.bottom &&
    taken.every(
      (other) =>
        box.x + box.w < other.x || other.x + other.w < box.x || box.y + box.h < other.y || other.y + other.h < box.y,
    );
  return marks
    .toSorted((a, b) => a.x - b.x || a.y - b.y)
    .map((mark) => {
      const w = mark.name.length * letter.width;
      for (let radius = 8; radius < 400; radius += 6)
        for (let turn = 0; turn < 16; turn++) {
          const angle = (turn * Math.PI) / 8;
          const left = Math.cos(angle) < -0.3;
          const x = mark.x + radius * Math.cos(angle) - (left ? w : 0);
          const y = mark.y + radius * Math.sin(angle) + 4;
          const box = { x, y: y - letter.height + 2, w, h: letter.height };
          if (!isFree(box)) continue;
          taken.push(box);
          return { mark, x, y };
        }
      return { mark, x: mark.x + 8, y: mark.y + 4 };
    });
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
