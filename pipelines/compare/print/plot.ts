// Tokens against arithmetic, one mark a connector: a picture without a library.
import { formatCount } from '../../../dsl/text/table.ts';
import { plotColor, svgPage, svgText as text } from '../../plot/svg.ts';
import type { Comparison } from '../compare.ts';
import { labelled, type Mark } from './label-places.ts';

interface Named extends Mark {
  readonly family: string;
}

const [width, height] = [1360, 900];
const radius = 4.5;
const margin = { left: 90, right: 30, top: 92, bottom: 64 };

/** Tokens to the right, FLOP of connector and prefill upwards, both on logarithmic scales. Names stand where none covers another; marks of one place share a block of names, and where they hide one another, the uppermost has their number. */
export function comparisonSvg({ options, rows }: Comparison): string {
  const families = [...new Set(rows.map((row) => row.listed.family))];
  const points = rows.map(({ listed, cost }) => ({
    // A logarithmic scale has no 0: what gives no tokens of its own stands at 1, and says so.
    name: `${listed.connector.name}${cost.tokensOut === 0 ? ' (no tokens)' : ''}`,
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
  const colour = (family: string) => plotColor(families.indexOf(family));
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
  const frame = {
    x: margin.left + 4,
    y: margin.top,
    w: width - margin.left - margin.right - 4,
    h: height - margin.top - margin.bottom,
  };
  const blocks = labelled<Named>(marks, frame);
  const line = ([from, to]: (typeof blocks)[number]['line']) =>
    Math.hypot(to.x - from.x, to.y - from.y) > 11
      ? `<line x1="${from.x.toFixed(1)}" y1="${from.y.toFixed(1)}" x2="${to.x.toFixed(1)}" y2="${to.y.toFixed(1)}" stroke="#aaa" stroke-width="0.8"/>`
      : '';
  const dots = marks.map(
    ({ x, y, family }) =>
      `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${radius}" fill="${colour(family)}" stroke="white" stroke-width="0.8"/>`,
  );
  // One mark would hide another: where several have the same place, it says how many.
  const counts = stacks(marks).map(
    (own) =>
      `<circle cx="${own[0].x.toFixed(1)}" cy="${own[0].y.toFixed(1)}" r="6.5" fill="${colour(own[0].family)}" stroke="white" stroke-width="0.8"/>${text(own[0].x, own[0].y + 3.3, String(own.length), 'text-anchor="middle" font-size="9" fill="white"')}`,
  );
  const names = blocks.flatMap((block) =>
    block.names.map(({ mark, x, y }) => text(x, y, mark.name, `fill="${colour(mark.family)}"`)),
  );
  let right = margin.left;
  const legend = families.map((family) => {
    const x = right;
    right += 30 + 6.7 * family.length;
    return `<circle cx="${x + 5}" cy="58" r="4.5" fill="${colour(family)}"/>${text(x + 15, 62, family)}`;
  });
  return svgPage(width, height, 11, [
    text(margin.left, 32, title, 'font-size="14"'),
    ...grid,
    ...blocks.map((block) => line(block.line)),
    ...dots,
    ...counts,
    ...names,
    ...legend,
    text((margin.left + width - margin.right) / 2, height - 18, 'visual tokens', 'text-anchor="middle" font-size="13"'),
    text(24, height / 2, 'FLOP', `font-size="13" text-anchor="middle" transform="rotate(-90 24 ${height / 2})"`),
  ]);
}

/** Marks that lie over one another, more than one each. */
function stacks(marks: readonly Named[]): readonly (readonly [Named, Named, ...Named[]])[] {
  const found: [Named, ...Named[]][] = [];
  for (const mark of marks) {
    const under = found.find(([{ x, y }]) => Math.hypot(x - mark.x, y - mark.y) < radius);
    if (under === undefined) found.push([mark]);
    else under.push(mark);
  }
  return found.filter((own): own is [Named, Named, ...Named[]] => own.length > 1);
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
