// Golden files of layouts: tiles of one picture, rows with newlines, thumbnails.
import { OpabiniaError } from '../../../dsl/error.ts';
import { concat, rearrange, slice } from '../../../dsl/index.ts';
import { llavaAnyres } from '../../../models/connectors/layout/llava-anyres.ts';
import { phi4Tokens } from '../../../models/connectors/layout/phi-4-mm.ts';
import type { Canvas } from '../../../models/sequence/anyres.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  'llava-onevision-anyres-pack': (golden) => {
    const { config } = golden;
    const tile = config.number('image_size');
    const side = Math.floor(tile / config.number('patch_size'));
    const limit = /^anyres_max_(\d+)$/.exec(config.text('vision_aspect_ratio', ''))?.[1];
    const all = rearrange(golden.input('features', 'v n c'), 'v (h w) c -> b=(v) h w c', { h: side });
    const counts = config.numbers('views_per_image');
    let start = 0;
    const lengths = pairs(config.raw('image_sizes_hw'), 'image_sizes_hw').map(([height, width], i) => {
      const views = Array.from({ length: counts[i] ?? 1 }, (_, v) => slice(all, 'b', { start: start + v, size: 1 }));
      start += views.length;
      const options = {
        canvases: pairs(config.raw('image_grid_pinpoints'), 'image_grid_pinpoints'),
        tile,
        limit: limit === undefined ? undefined : Number(limit),
        linears: [],
      };
      const { tokens } = llavaAnyres.build(golden.params, views, options, { pictures: [{ height, width }] });
      golden.take(`tokens.${i}`, tokens);
      return tokens.size('n');
    });
    return new Map([['lengths', lengths]]);
  },
  'phi4-multimodal-image-embedding': highDefinition,
};

/** Pictures with crop 0 the whole, then tiles; those that a picture has not are padding, and a mask says what of a crop is. */
function highDefinition(golden: GoldenBuild): void {
  const [rows = 1, columns = 1] = golden.config.numbers('tiles_hw');
  const all = golden.input('features', 'b v n c');
  const side = golden.config.number('grid', Math.round(Math.sqrt(all.size('n'))));
  const useful = golden.config.numbers('useful_hw');
  const pictures = Array.from({ length: all.size('b') }, (_, i) => {
    const maps = Array.from({ length: 1 + rows * columns }, (_view, v) =>
      rearrange(slice(all, 'b', { start: i, size: 1 }).at('v', v), 'b (h w) c -> b h w c', { h: side }),
    );
    const [whole, ...tiles] = maps;
    if (whole === undefined) throw new OpabiniaError('there is no crop', { op: 'verify' });
    const options = { tiling: [rows, columns] as const, useful: [useful[0] ?? rows, useful[1] ?? columns] as const };
    return phi4Tokens(golden.params, whole, tiles, options).tokens;
  });
  golden.take('tokens', concat(pictures, 'n'));
}

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
