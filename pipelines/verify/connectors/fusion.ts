// Golden files of connectors that bring several layers, towers or scales together.
import { conv2d, rearrange, resize, slice, type Params } from '../../../dsl/index.ts';
import type { TowerReadings } from '../../../models/connectors/connector.ts';
import { deepseekVlHybrid } from '../../../models/connectors/fusion/deepseek-vl-hybrid.ts';
import { denseConnector } from '../../../models/connectors/fusion/dense-connector.ts';
import { eagle } from '../../../models/connectors/fusion/eagle.ts';
import { llavaHr } from '../../../models/connectors/fusion/llava-hr.ts';
import { mof } from '../../../models/connectors/fusion/mof.ts';
import { joinedScales, scaledMap } from '../../../models/connectors/fusion/s2.ts';
import { asSquareMap, type FeatureMap } from '../../../models/sequence/regions.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  'dense-connector-sti': dense,
  'dense-connector-sci': dense,
  'dense-connector-dci': dense,
  'mof-interleave': (golden) => {
    const maps = [golden.rowMap('clip'), golden.rowMap('dino')];
    golden.takeTokens(mof.build(golden.params, maps, { projectors: ['mm_projector', 'dino_mm_projector'] }, {}));
  },
  'eagle-channel-concat': (golden) => {
    const patches = golden.config.numbers('tower_patches');
    const pixels = picture(golden);
    const maps = golden.config.numbers('tower_image_sizes').map((side, k) => {
      const own = { height: side, width: side, mode: 'bilinear', alignCorners: true } as const;
      const seen = side === pixels.size('h') ? pixels : resize(pixels, own);
      return patchTower(golden.params.at('vision_towers', k, 'conv'), seen, patches[k] ?? 1);
    });
    const config = { side: golden.config.number('grid_size') };
    golden.takeTokens(eagle.build(golden.params, maps, config, golden.context));
  },
  'llava-hr-mr-adapter': (golden) => {
    const slow = rearrange(golden.input('slow', 'b c h w'), 'b c h w -> b h w c');
    const maps = [golden.gridMap('fast'), slow];
    golden.takeTokens(llavaHr.build(golden.params, maps, { stages: 1, projector: false }, golden.context));
  },
  's2-wrapper': (golden) => {
    const { config } = golden;
    if (config.number('num_prefix_token', 0) !== 0)
      throw config.wrong('num_prefix_token', 'is not 0', 'maps of a tower have no prefix tokens');
    const pixels = picture(golden);
    const most = config.has('max_split_size') ? config.number('max_split_size') : pixels.size('h');
    const patch = config.number('patch');
    const maps = config.numbers('scales').map((scale) => {
      const splits = Math.ceil((pixels.size('h') * scale) / most);
      return scaledMap(pixels, { scale, splits }, (seen) => patchTower(golden.params.at('conv'), seen, patch));
    });
    golden.take('tokens', joinedScales(maps, config.number('resize_output_to_idx', 0)));
  },
  'deepseek-vl-hybrid-aligner': (golden) => {
    const high = rearrange(golden.input('high_res', 'b c h w'), 'b c h w -> b h w c');
    golden.takeTokens(deepseekVlHybrid.build(golden.params, [golden.gridMap(), high], {}, {}));
  },
};

function picture(golden: GoldenBuild): FeatureMap {
  return rearrange(golden.input('pixels', 'b c h w'), 'b c h w -> b h w c');
}

/** What stands in for a tower in the files: one convolution whose stride is its kernel. */
function patchTower(p: Params, pixels: FeatureMap, patch: number): FeatureMap {
  return conv2d(p, pixels, { out: 'c', kernel: patch, stride: patch });
}

function dense(golden: GoldenBuild): void {
  const { config } = golden;
  const map = golden.gridMap();
  const states = golden.input('hidden_states', 'l b n c');
  const patches = map.size('h') * map.size('w');
  const tower: Pick<TowerReadings, 'hidden'> = {
    hidden: (layer) => {
      const state = states.at('l', layer);
      return asSquareMap(slice(state, 'n', { start: state.size('n') - patches }));
    },
  };
  const form = config.text('type');
  // Literals of the code.
  const half = config.flag('is_siglip', false) ? 13 : 12;
  const layers =
    form === 'dci'
      ? ([
          [0, half - 1],
          [half, 2 * half - 1],
        ] as const)
      : ([
          [7, 7],
          [15, 15],
        ] as const);
  golden.takeTokens(
    denseConnector.build(
      golden.params,
      [map],
      { form: form === 'sti' || form === 'sci' ? form : 'dci', layers, pool: 8 },
      { ...golden.context, tower: () => tower as TowerReadings },
    ),
  );
}
