// A whole tower in half precision: the CLIP that LLaVA and Cambrian-1 read pictures with.
import { trace, type Float, type Graph } from '../../dsl/index.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { clipFeatures, clipLarge336, clipShapes, clipUnread, type ClipConfig } from '../../models/towers/clip.ts';
import { benchParams, halves, uniform, type BenchCase, type Scale, type Work } from '../case.ts';

const small: ClipConfig = { ...clipLarge336, width: 32, layers: 2, heads: 2, hidden: 64, image: 42 };

function clip(scale: Scale): Work {
  const config = scale === 'full' ? clipLarge336 : small;
  const rounded = shapedParams(clipShapes(config), benchParams('f16'));
  const graph = (dtype: Float): Graph =>
    trace(
      { ...rounded, dtype },
      (t) => ({
        y: clipFeatures(
          t.params,
          t.input('pixels', 'b h w c', { b: 1, h: config.image, w: config.image, c: 3 }, dtype),
          config,
        ),
      }),
      { unread: clipUnread },
    );
  const pixels = uniform(config.image ** 2 * 3, 1, 1.7).map(Math.f16round);
  return {
    graph: graph('f16'),
    source: rounded,
    inputs: { pixels: halves(pixels) },
    judged: { graph: graph('f32'), inputs: { pixels }, by: 'ort-cpu' },
  };
}

export const towerCases: readonly BenchCase[] = [
  {
    name: 'clip-l-336',
    about: 'CLIP ViT-L/14 of a picture of 336 pixels, 23 of its 24 layers, f16',
    hardware: true,
    build: clip,
  },
];
