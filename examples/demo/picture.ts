// The photograph with SVA's regions and the attention that each encoder receives, drawn over it as an SVG and written as PNG.
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import sharp from 'sharp';
import { OpabiniaError } from '../../dsl/error.ts';
import { resizePillow, type Image } from '../../runtime/image/image.ts';
import { text } from './glyphs.ts';

export interface EncoderPanel {
  readonly name: string;
  /** Side of the encoder's own token grid; a multiple of the side of the query grid. */
  readonly side: number;
  /** For each query, row-major: the part of its attention that this encoder's keys receive, 0 to 1. */
  readonly mass: ArrayLike<number>;
}

export interface AttentionPicture {
  /** The padded square that the encoders see. */
  readonly image: Image;
  /** Side of the query grid. */
  readonly side: number;
  /** Queries whose region lies wholly in the padding. */
  readonly padded: readonly boolean[];
  readonly panels: readonly EncoderPanel[];
  readonly title: string;
  readonly subtitle: string;
  /** In the corner: who computed it. */
  readonly by: string;
}

const panelSide = 576;
const gap = 32;
const margin = 36;
const head = 120;
const legend = 66;
const ink = '#e8ecf1';
const faint = '#93a1b0';
const paper = '#12161c';

// Five stops of a perceptually even map, dark to bright (viridis).
const stops = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
] as const;

/** The colour of a share t in [0, 1]. */
export function colourOf(t: number): string {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const low = stops[Math.min(Math.floor(at), stops.length - 2)] ?? stops[0];
  const high = stops[Math.min(Math.floor(at), stops.length - 2) + 1] ?? stops[0];
  const part = at - Math.min(Math.floor(at), stops.length - 2);
  return `rgb(${low.map((v, i) => Math.round(v + ((high[i] ?? v) - v) * part)).join(',')})`;
}

const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / Math.max(values.length, 1);
const percent = (share: number): string => `${(share * 100).toFixed(share < 0.0995 ? 2 : 1)} %`;

/** Width and height of the whole picture, in pixels. */
export function pictureSize(panels: number): { readonly width: number; readonly height: number } {
  return { width: margin * 2 + panels * panelSide + (panels - 1) * gap, height: head + panelSide + legend + margin };
}

/** The drawing without the photographs, as SVG. */
export function drawOverlay(picture: AttentionPicture): string {
  const { width, height } = pictureSize(picture.panels.length);
  const panels = picture.panels.map((panel, i) => drawPanel(picture, panel, margin + i * (panelSide + gap)));
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
    text(picture.title, margin, 44, { size: 16, colour: ink, bold: true }) +
    text(picture.by, width - margin, 44, { size: 9.5, colour: faint, anchor: 'end' }) +
    text(picture.subtitle, margin, 72, { size: 9.5, colour: faint }) +
    `${panels.join('')}</svg>`
  );
}

function drawPanel(picture: AttentionPicture, panel: EncoderPanel, left: number): string {
  const { side, padded } = picture;
  const cell = panelSide / side;
  const shown = Array.from({ length: side * side }, (_, q) => q).filter((q) => padded[q] !== true);
  const masses = shown.map((q) => panel.mass[q] ?? 0);
  const [least, most] = [Math.min(...masses), Math.max(...masses)];
  const spread = Math.max(most - least, 1e-9);
  const cells = shown.map((q, i) => {
    const [x, y] = [left + (q % side) * cell, head + Math.floor(q / side) * cell];
    return `<rect x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${cell.toFixed(2)}" height="${cell.toFixed(2)}" fill="${colourOf(((masses[i] ?? 0) - least) / spread)}"/>`;
  });
  const dimmed = padded.flatMap((is, q) =>
    is
      ? [
          `<rect x="${(left + (q % side) * cell).toFixed(2)}" y="${(head + Math.floor(q / side) * cell).toFixed(2)}" width="${cell.toFixed(2)}" height="${cell.toFixed(2)}" fill="${paper}" fill-opacity="0.72"/>`,
        ]
      : [],
  );
  const keys = (panel.side / side) ** 2;
  const allKeys = picture.panels.reduce((sum, other) => sum + (other.side / side) ** 2, 0);
  return (
    `<g opacity="0.56" shape-rendering="crispEdges">${cells.join('')}</g>${dimmed.join('')}` +
    gridLines(left, panel.side, side) +
    text(
      `${panel.name}: ${panel.side} × ${panel.side} tokens, ${keys} ${keys === 1 ? 'key' : 'keys'} per region`,
      left,
      head - 12,
      { size: 9.5, colour: ink },
    ) +
    drawLegend(left, least, most, mean(masses), keys / allKeys)
  );
}

/** Strong lines between regions, faint ones between the tokens of a finer grid. */
function gridLines(left: number, tokens: number, regions: number): string {
  const lines = (count: number, skip: number, style: string) => {
    const step = panelSide / count;
    const path = Array.from({ length: count + 1 }, (_, i) => i)
      .filter((i) => skip === 0 || i % skip !== 0)
      .map(
        (i) =>
          `M${(left + i * step).toFixed(2)} ${head}V${head + panelSide}M${left} ${(head + i * step).toFixed(2)}H${left + panelSide}`,
      );
    return `<path d="${path.join('')}" fill="none" ${style}/>`;
  };
  const fine =
    tokens > regions
      ? lines(tokens, tokens / regions, 'stroke="#ffffff" stroke-opacity="0.13" stroke-width="0.6"')
      : '';
  return fine + lines(regions, 0, 'stroke="#ffffff" stroke-opacity="0.5" stroke-width="1"');
}

function drawLegend(left: number, least: number, most: number, average: number, even: number): string {
  const top = head + panelSide + 22;
  const steps = 96;
  const step = panelSide / steps;
  const bar = Array.from(
    { length: steps },
    (_, i) =>
      `<rect x="${(left + i * step).toFixed(2)}" y="${top}" width="${(step + 0.5).toFixed(2)}" height="12" fill="${colourOf(i / (steps - 1))}"/>`,
  );
  const mark = left + ((average - least) / Math.max(most - least, 1e-9)) * panelSide;
  return (
    bar.join('') +
    `<path d="M${mark.toFixed(1)} ${top - 3}V${top + 15}" stroke="#ffffff" stroke-width="2"/>` +
    text(percent(least), left, top + 31, { size: 9.5, colour: faint }) +
    text(percent(most), left + panelSide, top + 31, { size: 9.5, colour: faint, anchor: 'end' }) +
    text(`mean mass ${percent(average)}`, left, top + 60, { size: 12, colour: ink, bold: true }) +
    text(`an even spread over the keys gives ${percent(even)}`, left + panelSide, top + 60, {
      size: 9.5,
      colour: faint,
      anchor: 'end',
    })
  );
}

/** Writes the picture. Throws `OpabiniaError` when a panel's grid does not fit the query grid. */
export async function writePicture(path: string, picture: AttentionPicture): Promise<void> {
  for (const panel of picture.panels) {
    if (panel.side % picture.side !== 0 || panel.mass.length !== picture.side ** 2) {
      throw new OpabiniaError(
        `panel '${panel.name}' has ${panel.mass.length} regions of a grid of side ${panel.side}, the queries are ${picture.side} × ${picture.side}`,
        { op: 'writePicture' },
      );
    }
  }
  const { width, height } = pictureSize(picture.panels.length);
  const photo = resizePillow(picture.image, panelSide, panelSide, 'lanczos');
  const raw = { raw: { width: panelSide, height: panelSide, channels: 3 as const } };
  // Faded towards grey, so that the colours of the map are not mistaken for those of the cat.
  const base = await sharp(photo.rgb, raw).modulate({ saturation: 0.25 }).raw().toBuffer();
  const photos = picture.panels.map((_, i) => ({
    input: base,
    ...raw,
    left: margin + i * (panelSide + gap),
    top: head,
  }));
  await mkdir(dirname(path), { recursive: true });
  // Decoding forbids SVG to files from outside; this one is our own.
  sharp.unblock({ operation: ['VipsForeignLoadSvg'] });
  try {
    await sharp({ create: { width, height, channels: 3, background: paper } })
      .composite([...photos, { input: Buffer.from(drawOverlay(picture)) }])
      .png({ compressionLevel: 9 })
      .toFile(path);
  } finally {
    sharp.block({ operation: ['VipsForeignLoadSvg'] });
  }
}
