// ConvNeXt (arXiv 2201.03545) as OpenCLIP has it, with timm's names: stages of depthwise convolutions and MLPs.
import { concat, layerNorm, OpabiniaError, reduce, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { geluOf } from '../configs/activation.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { convNextBlock, type ConvNextConfig } from './convnext-block.ts';
import { convNextRoots, convNextWitness } from './convnext-shapes.ts';
import { clipMean, clipStd, onGrid, patchConv, rootOf, type Grid, type Pixels, type PixelNorm } from './tower.ts';

export type { ConvNextConfig } from './convnext-block.ts';

/** laion/CLIP-convnext_xxlarge-laion2B-s34B-b82K-augreg-soup; Cambrian-1 shows it pictures of 1024 pixels. */
export const convNextXxl: ConvNextConfig = {
  depths: [3, 4, 30, 3],
  widths: [384, 768, 1536, 3072],
  stem: 4,
  kernel: 7,
  ratio: 4,
  eps: 1e-5,
  activation: 'exact',
};

export const convNextPixels: PixelNorm = { side: 1024, mean: clipMean, std: clipStd, padding: clipMean };

/** A config with `depths` and `dims`; what else is absent is as in OpenCLIP's xxlarge. */
export function convNextConfig(read: ConfigReader): ConvNextConfig {
  const [depths, widths] = [read.numbers('depths'), read.numbers('dims')];
  if (depths.length !== widths.length || depths.length === 0)
    throw new OpabiniaError(`the config has ${depths.length} depths and ${widths.length} dims`, {
      op: 'convNextConfig',
      advice: 'one of each for every stage',
    });
  return {
    depths,
    widths,
    // The second of each are the names of timm's constructor.
    stem: read.count('stem_patch_size', read.count('patch_size', convNextXxl.stem)),
    kernel: read.count('kernel_size', read.count('kernel_sizes', convNextXxl.kernel)),
    ratio: read.number('mlp_ratio', convNextXxl.ratio),
    eps: read.number('norm_eps', convNextXxl.eps),
    activation: geluOf(read, 'gelu', read.has('act_layer') ? 'act_layer' : 'hidden_act'),
  };
}

export interface ConvNextEncoded {
  readonly stem: FeatureMap;
  /** After each block, by stage; a stage without blocks gives what it was given. */
  readonly blocks: readonly (readonly FeatureMap[])[];
  /** The result of each stage, without a norm. */
  readonly stages: readonly FeatureMap[];
  /** Mean over the last map, normalised; Cambrian-1 does not use it. */
  readonly pooled: () => Tensor<'b c', Float>;
}

/** All of the tower; what is not used of it costs nothing. */
export function convNext(p: Params, pixels: Pixels, config: ConvNextConfig): ConvNextEncoded {
  const root = rootOf(p, convNextRoots, convNextWitness);
  const { eps, widths } = config;
  const stem = layerNorm(
    root.at('stem', 1),
    patchConv(root.at('stem', 0), pixels, { patch: config.stem, size: widths[0] ?? 0 }),
    { eps },
  );
  const stages: FeatureMap[] = [];
  const blocks: FeatureMap[][] = [];
  let map = stem;
  config.depths.forEach((depth, s) => {
    const at = root.at('stages', s);
    if (s > 0)
      map = patchConv(at.at('downsample', 1), layerNorm(at.at('downsample', 0), map, { eps }), {
        patch: 2,
        size: widths[s] ?? 0,
      });
    const after: FeatureMap[] = [];
    for (let i = 0; i < depth; i++) after.push((map = convNextBlock(at.at('blocks', i), map, config)));
    blocks.push(after);
    stages.push(map);
  });
  return {
    stem,
    blocks,
    stages,
    pooled: () => layerNorm(root.at('head', 'norm'), reduce(map, 'b h w c -> b c', 'mean'), { eps }),
  };
}

export interface ConvNextTap {
  /** Which stages are put side by side along the channels; all of them by default, `[-1]` is the last alone. */
  readonly stages?: readonly number[] | undefined;
  /** The grid that each is resized to; by default that of the first of them. */
  readonly grid?: Grid | undefined;
}

/**
 * The map that a connector reads. Cambrian-1 takes all stages, each resized to 96 × 96. Throws `OpabiniaError` for a stage that is not there.
 * @example const map = convNextFeatures(t.params, pixels, config) // Tensor<'b h w c'>
 */
export function convNextFeatures(
  p: Params,
  pixels: Pixels,
  config: ConvNextConfig,
  options: ConvNextTap = {},
): FeatureMap {
  const { stages } = convNext(p, pixels, config);
  const taken = (options.stages ?? stages.map((_, s) => s)).map((s) => {
    const map = stages.at(s);
    if (map === undefined)
      throw new OpabiniaError(`there is no stage ${s}: there are ${stages.length}`, {
        op: 'convNextFeatures',
        path: p.path,
      });
    return map;
  });
  const [first] = taken;
  if (first === undefined)
    throw new OpabiniaError('no stage is taken', { op: 'convNextFeatures', path: p.path, advice: 'name at least one' });
  const grid = options.grid ?? ([first.size('h'), first.size('w')] as const);
  return concat(
    taken.map((map) => onGrid(map, grid)),
    'c',
  );
}
