// Golden files of connectors made of convolutions.
import { rearrange, repeat } from '../../../dsl/index.ts';
import { cambrianConv } from '../../../models/connectors/convolutional/cambrian-conv.ts';
import { eveV2 } from '../../../models/connectors/convolutional/eve-v2.ts';
import { gotOcr2 } from '../../../models/connectors/convolutional/got-ocr2.ts';
import { honeybeeCAbstractor } from '../../../models/connectors/convolutional/honeybee-c-abstractor.ts';
import { mobilevlmLdp } from '../../../models/connectors/convolutional/mobilevlm-ldp.ts';
import { mobilevlmLdpv2 } from '../../../models/connectors/convolutional/mobilevlm-ldpv2.ts';
import { videollama2 } from '../../../models/connectors/convolutional/videollama2.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  'honeybee-c-abstractor': (golden) => {
    const { config } = golden;
    const options = {
      side: Math.sqrt(config.number('num_query_tokens')),
      depth: config.number('depth'),
      hidden: config.number('hidden_size'),
      layers: config.number('mlp_depth'),
      positions: config.flag('pos_emb', true),
      prenorm: config.flag('prenorm', false),
      ends: config.number('num_eos_tokens', 0),
    };
    golden.takeTokens(honeybeeCAbstractor.build(golden.params, [golden.gridMap()], options, {}));
  },
  'mobilevlm-ldp': (golden) => {
    const config = { eps: golden.config.number('norm_eps', 1e-5) };
    golden.takeTokens(mobilevlmLdp.build(golden.params, [golden.gridMap()], config, {}));
  },
  'mobilevlm-ldpv2': (golden) => {
    const config = { side: golden.config.number('out_grid', 12) };
    golden.takeTokens(mobilevlmLdpv2.build(golden.params, [golden.gridMap()], config, {}));
  },
  'cambrian-conv-baseline': (golden) => {
    const config = { hidden: golden.config.number('hidden', 1024), stride: 2 };
    golden.takeTokens(cambrianConv.build(golden.params, [golden.gridMap()], config, {}));
  },
  'got-ocr2-projector': (golden) => {
    const map = rearrange(golden.input('features', 'b c h w'), 'b c h w -> b h w c');
    golden.takeTokens(gotOcr2.build(golden.params, [map], {}, {}));
  },
  'videollama2-stc': video,
  'videollama2-stp': video,
  'evev2-tokenizer': (golden) => {
    const config = { patch: golden.config.number('patch_stride'), merge: golden.config.number('dense_stride') };
    for (let i = 0; golden.file.has(`input.pixels.${i}`); i++) {
      const pixels = rearrange(golden.input(`pixels.${i}`, 'c h w'), 'c h w -> h w c');
      const picture = repeat(pixels, 'h w c -> b h w c', { b: 1 });
      golden.takeTokens(eveV2.build(golden.params, [picture], config, {}), `tokens.${i}`);
    }
  },
};

function video(golden: GoldenBuild): void {
  const { config } = golden;
  const all = golden.input('features', 'b t n c');
  const [frames = 2, rows = 2, columns = 2] = config.numbers('downsample');
  const h = config.number('grid', Math.round(Math.sqrt(all.size('n'))));
  const maps = Array.from({ length: all.size('t') }, (_, t) =>
    rearrange(all.at('t', t), 'b (h w) c -> b h w c', { h }),
  );
  const form = config.text('cls', 'STCConnector');
  const options = {
    depth: config.number('depth'),
    layers: config.number('mlp_depth', 2),
    hidden: config.number('hidden_size'),
    steps: [frames, rows, columns] as const,
    sampler: /Pool|STP/.test(form) ? ('pool' as const) : /V35/.test(form) ? ('conv-3.5' as const) : ('conv' as const),
  };
  golden.takeTokens(videollama2.build(golden.params, maps, options, {}));
}
