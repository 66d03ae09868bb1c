// Learning curves and accuracies with their intervals, as SVG without a library.
import { plotColor, svgPage, svgText as text } from '../../plot/svg.ts';
import type { TrainedComparison } from '../train/compare-trained.ts';
import { columns, summaryOf } from './summary.ts';

const [width, height] = [1240, 620];
const curves = { left: 70, right: 560, top: 50, bottom: 540 } as const;
const points = { left: 660, right: 1040, top: 50, bottom: 540 } as const;
export function trainedSvg(comparison: TrainedComparison): string {
  const { results } = comparison;
  const lines = results.flatMap(({ runs }, i) => runs.map(({ curve }) => ({ i, curve: smooth(curve) })));
  const all = lines.flatMap(({ curve }) => curve);
  const most = Math.max(1, ...all.map(({ step }) => step));
  const highest = Math.max(1e-3, ...all.map(({ loss }) => loss));
  const x = (step: number) => curves.left + (step / most) * (curves.right - curves.left);
  const y = (loss: number) => curves.bottom - (loss / highest) * (curves.bottom - curves.top);
  const paths = lines.map(
    ({ i, curve }) =>
      `<path d="${curve.map(({ step, loss }, n) => `${n === 0 ? 'M' : 'L'}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join('')}" fill="none" stroke="${plotColor(i)}" stroke-width="1.6" stroke-opacity="0.8"/>`,
  );
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const axes = ticks.flatMap((part) => [
    `<path d="M${curves.left} ${y(part * highest).toFixed(1)}H${curves.right}" stroke="#ddd"/>`,
    text(curves.left - 8, y(part * highest) + 4, (part * highest).toFixed(2), 'text-anchor="end"'),
    text(x(part * most), curves.bottom + 18, String(Math.round(part * most)), 'text-anchor="middle"'),
    `<path d="M${(points.left + part * (points.right - points.left)).toFixed(1)} ${points.top}V${points.bottom}" stroke="#ddd"/>`,
    text(
      points.left + part * (points.right - points.left),
      points.bottom + 18,
      part.toFixed(2),
      'text-anchor="middle"',
    ),
  ]);
  const rows = summaryOf(comparison);
  const band = (points.bottom - points.top) / columns.length;
  const marks = columns.flatMap((column, c) => [
    text(points.left - 8, points.top + (c + 0.5) * band + 4, column, 'text-anchor="end"'),
    ...rows.flatMap((row, i) => {
      const { mean, low, high } = row.accuracy[column];
      if (!Number.isFinite(mean)) return [];
      const at = points.top + c * band + ((i + 1) * band) / (rows.length + 1);
      const px = (share: number) => (points.left + share * (points.right - points.left)).toFixed(1);
      return [
        `<path d="M${px(low)} ${at.toFixed(1)}H${px(high)}" stroke="${plotColor(i)}" stroke-width="2"/><circle cx="${px(mean)}" cy="${at.toFixed(1)}" r="3.4" fill="${plotColor(i)}"/>`,
      ];
    }),
  ]);
  const legend = rows.map(
    (row, i) =>
      `<circle cx="1066" cy="${60 + 20 * i}" r="4" fill="${plotColor(i)}"/>${text(1076, 64 + 20 * i, row.name)}`,
  );
  return svgPage(width, height, 12, [
    text(curves.left, 30, 'Loss over steps, one line a seed', 'font-size="15" font-weight="bold"'),
    text(points.left, 30, 'Accuracy by slice, with its 95 % interval', 'font-size="15" font-weight="bold"'),
    ...axes,
    ...paths,
    ...marks,
    ...legend,
  ]);
}

/** A mean over five logged losses: single batches jump. */
function smooth(curve: readonly { readonly step: number; readonly loss: number }[]) {
  return curve.map(({ step }, i) => {
    const around = curve.slice(Math.max(0, i - 2), i + 3);
    return { step, loss: around.reduce((sum, one) => sum + one.loss, 0) / around.length };
  });
}
