// The two plots of a study, as SVG without a library.
import { labelled } from '../../compare/print/label-places.ts';
import { plotColor, svgPage, svgText as text } from '../../plot/svg.ts';
import type { Sight, Spread } from './sight.ts';
import type { Structure } from './structure.ts';

function framed(width: number, height: number, title: string, parts: readonly string[]): string {
  return svgPage(width, height, 12, [text(20, 26, title, 'font-size="15"'), ...parts]);
}

const colors = { sighted: '#2a9d6f', blind: '#c8553d', chance: '#b08900', gain: '#1b6ca8' } as const;
const box = { left: 60, top: 70, bottom: 430 } as const;
const step = 64;

/** Sighted, blind, guessing, and what the picture adds; benchmarks by the last. Points counted beyond 100 are drawn in hundredths of 2,000. */
export function sightSvg(sights: readonly Sight[]): string {
  const right = box.left + step * (sights.length + 0.5);
  const scaled = sights.map((sight) => ({ sight, scale: sight.sighted.most > 100 ? 1 / 20 : 1 }));
  const least = Math.min(
    0,
    ...scaled.flatMap(({ sight, scale }) => [(sight.gain ?? 0) * scale, (sight.blind?.least ?? 0) * scale]),
  );
  const y = (value: number): number => box.bottom - ((value - least) / (100 - least)) * (box.bottom - box.top);
  const ticks = [-20, 0, 20, 40, 60, 80, 100].filter((tick) => tick >= least);
  const bar = (x: number, { mean, least: low, most }: Spread, scale: number, color: string): string =>
    [
      `<path d="M${x} ${y(low * scale).toFixed(1)}V${y(most * scale).toFixed(1)}" stroke="${color}" stroke-width="2"/>`,
      `<circle cx="${x}" cy="${y(mean * scale).toFixed(1)}" r="5" fill="${color}"/>`,
    ].join('');
  const gains = scaled.flatMap(({ sight, scale }, i) =>
    sight.gain === undefined ? [] : [[box.left + step * (i + 0.75), y(sight.gain * scale)] as const],
  );
  const parts = [
    ...ticks.map(
      (tick) =>
        `<path d="M${box.left} ${y(tick).toFixed(1)}H${right}" stroke="#ddd"/>${text(box.left - 8, y(tick) + 4, String(tick), 'text-anchor="end"')}`,
    ),
    ...scaled.flatMap(({ sight, scale }, i) => {
      const x = box.left + step * (i + 0.75);
      return [
        text(x, box.bottom + 18, sight.benchmark, `text-anchor="end" transform="rotate(-40 ${x} ${box.bottom + 18})"`),
        sight.chance === undefined
          ? ''
          : `<rect x="${x - 5}" y="${(y(sight.chance * scale) - 5).toFixed(1)}" width="10" height="10" fill="${colors.chance}"/>`,
        sight.blind === undefined ? '' : bar(x - 8, sight.blind, scale, colors.blind),
        bar(x + 8, sight.sighted, scale, colors.sighted),
      ];
    }),
    gains.length < 2
      ? ''
      : `<path d="${gains.map(([x, at], i) => `${i === 0 ? 'M' : 'L'}${x.toFixed(1)} ${at.toFixed(1)}`).join('')}" fill="none" stroke="${colors.gain}" stroke-width="1.6"/>`,
    ...gains.map(([x, at]) => `<circle cx="${x.toFixed(1)}" cy="${at.toFixed(1)}" r="3.5" fill="${colors.gain}"/>`),
    ...Object.entries({
      'sighted: mean, least, most': colors.sighted,
      'blind: mean, least, most': colors.blind,
      guessing: colors.chance,
      'sighted − blind': colors.gain,
    }).map(
      ([name, color], i) =>
        `<rect x="${box.left + i * 185}" y="42" width="10" height="10" fill="${color}"/>${text(box.left + 16 + i * 185, 51, name)}`,
    ),
  ];
  return framed(right + 20, box.bottom + 110, 'What the picture is worth', parts);
}

const [size, margin] = [620, 70];

/** Benchmarks by their loadings on the first two components of what is left when good models are good everywhere; colors are groups, or clusters. */
export function structureSvg({ benchmarks, components, clusters, groups }: Structure): string {
  const [first, second] = components;
  if (first === undefined || second === undefined) return framed(size, size, 'One component', []);
  const most = 1.15 * Math.max(...[...first.loadings, ...second.loadings].map(Math.abs));
  const at = (value: number): number => margin + ((value + most) / (2 * most)) * (size - 2 * margin);
  const names = groups?.of ?? clusters.map((cluster) => `cluster ${cluster}`);
  const kinds = [...new Set(names)];
  const colorOf = (i: number): string => plotColor(kinds.indexOf(names[i] ?? ''));
  const marks = benchmarks.map((name, i) => ({
    name: `${name} (${clusters[i] ?? ''})`,
    x: at(first.loadings[i] ?? 0),
    y: size - at(second.loadings[i] ?? 0),
    color: colorOf(i),
  }));
  const blocks = labelled(marks, { x: 10, y: 40, w: size + 40, h: size - 90 });
  const parts = [
    `<path d="M${margin} ${size / 2}H${size - margin}M${size / 2} ${margin}V${size - margin}" stroke="#ccc"/>`,
    text(size - margin, size / 2 - 6, `component 1: ${(100 * first.variance).toFixed(0)} %`, 'text-anchor="end"'),
    text(size / 2 + 6, margin + 4, `component 2: ${(100 * second.variance).toFixed(0)} %`),
    ...blocks.map(
      ({ line: [from, to] }) =>
        `<path d="M${from.x.toFixed(1)} ${from.y.toFixed(1)}L${to.x.toFixed(1)} ${to.y.toFixed(1)}" stroke="#bbb"/>`,
    ),
    ...marks.map(
      ({ x, y, color }) =>
        `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="6" fill="${color}" fill-opacity="0.8"/>`,
    ),
    ...blocks.flatMap((block) =>
      block.names.map(({ mark, x, y }) => text(x, y, mark.name, `font-size="11" fill="${mark.color}"`)),
    ),
    ...kinds.map(
      (kind, i) =>
        `<circle cx="${margin + 150 * (i % 4)}" cy="${size - 30 + 18 * Math.floor(i / 4)}" r="5" fill="${plotColor(i)}"/>${text(margin + 10 + 150 * (i % 4), size - 26 + 18 * Math.floor(i / 4), kind)}`,
    ),
  ];
  return framed(size + 60, size + 20, 'Which benchmarks go together (in parentheses: cluster)', parts);
}

/** Files of a study; the second only where there are models enough. */
export function plotsOf(
  sights: readonly Sight[],
  structure: Structure | undefined,
): readonly { readonly name: string; readonly svg: string }[] {
  return [
    { name: 'sight.svg', svg: `${sightSvg(sights)}\n` },
    ...(structure === undefined ? [] : [{ name: 'structure.svg', svg: `${structureSvg(structure)}\n` }]),
  ];
}
