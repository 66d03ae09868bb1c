// Golden files of layouts: tiles of one picture, rows with newlines, thumbnails.
import { OpabiniaError } from '../../../dsl/error.ts';
import { rearrange, slice } from '../../../dsl/index.ts';
import { bestCanvas, packViews, unpadded, type Canvas } from '../../../models/multimodal/llava-next.ts';
import type { Adapters } from '../golden-build.ts';

export const adapters: Adapters = {
  'llava-onevision-anyres-pack': (golden) => {
    const { config } = golden;
    const image = config.number('image_size');
    const side = Math.floor(image / config.number('patch_size'));
    const canvases = pairs(config.raw('image_grid_pinpoints'), 'image_grid_pinpoints');
    const limit = /^anyres_max_(\d+)$/.exec(config.text('vision_aspect_ratio', ''))?.[1];
    const newline = golden.params.get('image_newline', 'e');
    const all = rearrange(golden.input('features', 'v n e'), 'v (h w) e -> v h w e', { h: side });
    const counts = config.numbers('views_per_image');
    let start = 0;
    const lengths = pairs(config.raw('image_sizes_hw'), 'image_sizes_hw').map(([height, width], i) => {
      const size = counts[i] ?? 1;
      const views = slice(all, 'v', { start, size });
      start += size;
      const canvas = bestCanvas({ height, width }, canvases);
      const tiles = [canvas[0] / image, canvas[1] / image] as const;
      const layout =
        size === 1 ? undefined : { tiles, area: unpadded({ height, width }, [tiles[0] * side, tiles[1] * side]) };
      const tokens = packViews(views, newline, { layout, limit: limit === undefined ? undefined : Number(limit) });
      golden.take(`tokens.${i}`, tokens);
      return tokens.size('s');
    });
    return new Map([['lengths', lengths]]);
  },
};

/** A list of heights and widths. */
function pairs(values: unknown, what: string): readonly Canvas[] {
  const isPair = (value: unknown): value is Canvas =>
    Array.isArray(value) && value.length === 2 && value.every((size) => Number.isInteger(size));
  if (Array.isArray(values) && values.every(isPair)) return values;
  throw new OpabiniaError(`'${what}' is not a list of pairs of sizes`, {
    op: 'verify',
    advice: 'the file may be damaged',
  });
}
