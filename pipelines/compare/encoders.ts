// Vision encoders that connectors are compared on: the map each gives, from its released configuration.
import { OpabiniaError } from '../../dsl/error.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import type { MapShape } from '../../models/connectors/connector.ts';
import { clipLarge336 } from '../../models/towers/clip.ts';
import { convNextPixels, convNextXxl } from '../../models/towers/convnext.ts';
import { dinov2Giant, dinov2Pixels } from '../../models/towers/dinov2.ts';
import { study, studyGrid } from '../../models/towers/study.ts';
import { siglipSo400m384 } from '../../models/towers/siglip.ts';

export interface Encoder {
  readonly name: string;
  /** Its own grid and channels. */
  readonly map: MapShape;
  /** The grid and channels that Cambrian-1 resamples it to, so that all encoders share one grid, or one is a multiple of it. */
  readonly shared: MapShape;
  readonly heads: number;
  readonly layers: number;
  readonly classTokens: number;
  readonly source: string;
}

interface Vit {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly patch: number;
}

function vit(name: string, config: Vit, side: number, classTokens: number, source: string): Encoder {
  const grid = Math.floor(side / config.patch);
  const { width, layers, heads } = config;
  return { name, map: [grid, grid, width], shared: [24, 24, width], heads, layers, classTokens, source };
}

const { depths, widths, stem } = convNextXxl;
const convNextSide = convNextPixels.side / (stem * 2 ** (depths.length - 1));

/** The four of the released Cambrians, in their order: what is compared on where nothing else is said. */
export const cambrianEncoders: readonly Encoder[] = [
  vit('clip-l-336', clipLarge336, clipLarge336.image, 1, 'openai/clip-vit-large-patch14-336'),
  vit('siglip-so400m-384', siglipSo400m384, siglipSo400m384.image, 0, 'google/siglip-so400m-patch14-384'),
  vit('dinov2-g-378', dinov2Giant, dinov2Pixels.side, 1, 'facebook/dinov2-giant at 378 pixels'),
  {
    name: 'convnext-xxl-1024',
    map: [convNextSide, convNextSide, widths.at(-1) ?? 0],
    // All four stages side by side on one grid.
    shared: [96, 96, widths.reduce((sum, width) => sum + width, 0)],
    heads: 1,
    layers: depths.reduce((sum, depth) => sum + depth, 0),
    classTokens: 0,
    source: 'laion/CLIP-convnext_xxlarge-laion2B-s34B-b82K-augreg-soup at 1024 pixels',
  },
];

/** The encoders of the released Cambrians, as these load them, and the rest of the study's, each on its own grid or on 24 × 24. */
export const encoders: readonly Encoder[] = [
  ...cambrianEncoders,
  ...study
    .filter((row) => cambrianEncoders.every((one) => one.name !== row.name))
    .map((row): Encoder => {
      const grid = studyGrid(row);
      const own = Math.round(Math.sqrt(row.tokens));
      return {
        name: row.name,
        map: [grid, grid, row.width],
        shared: [own, own, row.width],
        heads: row.heads,
        layers: row.layers,
        classTokens: row.classTokens,
        source: `${row.checkpoint ?? 'no public file'} at ${row.side} pixels`,
      };
    }),
];

/** Throws `OpabiniaError` for an unknown encoder, with the nearest names, and for none. */
export function encodersNamed(names: readonly string[]): readonly Encoder[] {
  if (names.length === 0)
    throw new OpabiniaError('there is no encoder', { op: 'compare', advice: 'name at least one' });
  return names.map((name) => {
    const found = encoders.find((encoder) => encoder.name === name);
    if (found !== undefined) return found;
    const known = encoders.map((encoder) => encoder.name);
    throw new OpabiniaError(`there is no encoder '${name}'`, {
      op: 'compare',
      advice: nameAdvice(name, known),
    });
  });
}
