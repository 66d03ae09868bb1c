// Golden files of connectors that keep every token.
import { OpabiniaError } from '../../../dsl/error.ts';
import { gather, rearrange, type Float, type Tensor } from '../../../dsl/index.ts';
import { cogvlmGlu } from '../../../models/connectors/pointwise/cogvlm-glu.ts';
import { florence2 } from '../../../models/connectors/pointwise/florence-2.ts';
import { gemma3n, gemma3nHardTokens } from '../../../models/connectors/pointwise/gemma-3n.ts';
import { gemma4Embedded, gemma4Hidden } from '../../../models/connectors/pointwise/gemma-4-unified.ts';
import { janus } from '../../../models/connectors/pointwise/janus.ts';
import { llava } from '../../../models/connectors/pointwise/llava.ts';
import { llavaNextPooler } from '../../../models/connectors/pointwise/llava-next-pooler.ts';
import { llavaNextResMlp } from '../../../models/connectors/pointwise/llava-next-res-mlp.ts';
import { museGlimmer } from '../../../models/connectors/pointwise/muse-glimmer.ts';
import { ovis } from '../../../models/connectors/pointwise/ovis.ts';
import { paligemma } from '../../../models/connectors/pointwise/paligemma.ts';
import { prismatic } from '../../../models/connectors/pointwise/prismatic.ts';
import { seMlp } from '../../../models/connectors/pointwise/se-mlp.ts';
import { vipLlava } from '../../../models/connectors/pointwise/vip-llava.ts';
import type { Adapters, GoldenBuild } from '../golden-build.ts';

export const adapters: Adapters = {
  'llava-mlp': mlpOrBlocks,
  'llava-mlp-res': mlpOrBlocks,
  'llava-next-pooler': (golden) =>
    golden.takeTokens(llavaNextPooler.build(golden.params, [golden.gridMap()], { kernel: 2 }, {})),
  'se-mlp': (golden) => golden.takeTokens(seMlp.build(golden.params, [golden.rowMap()], { layers: 2 }, {})),
  'prismatic-fused-mlp': (golden) =>
    golden.takeTokens(prismatic.build(golden.params, [golden.rowMap()], { expansion: 4 }, {})),
  'cogvlm-glu': (golden) => {
    const config = { eps: golden.config.number('ln_eps', 1e-5), marks: false };
    golden.takeTokens(cogvlmGlu.build(golden.params, [golden.rowMap()], config, {}));
  },
  'vip-llava': (golden) => {
    const config = { layers: [], eps: golden.config.number('ln_eps', 1e-5) };
    golden.takeTokens(vipLlava.build(golden.params, [golden.rowMap()], config, {}));
  },
  'janus-aligner': (golden) => {
    const config = { depth: golden.config.number('depth') };
    golden.takeTokens(janus.build(golden.params, [golden.rowMap()], config, {}));
  },
  'paligemma-projector': (golden) =>
    golden.takeTokens(paligemma.build(golden.params, [golden.rowMap()], { scaled: false }, {})),
  'muse-glimmer-adapter': (golden) => {
    const config = { eps: golden.config.number('rms_eps'), hidden: golden.config.number('projector_hidden_size') };
    golden.takeTokens(museGlimmer.build(golden.params, [golden.rowMap()], config, golden.context));
  },
  'gemma3n-embedder': (golden) => {
    const config = { eps: golden.config.number('rms_eps', 1e-6), scaled: false };
    golden.takeTokens(gemma3n.build(golden.params, [golden.rowMap()], config, {}), 'soft');
    const ids = golden.integers('input_ids', 'b n').sub(golden.config.number('vocab_offset'));
    golden.take('hard', gemma3nHardTokens(golden.params, ids, config));
  },
  'gemma4-unified-embedder': gemma4Patches,
  'ovis2-visual-vocabulary': (golden) => {
    const { config } = golden;
    const merge = config.number('hidden_stride');
    const options = { merge, indicators: config.number('num_visual_indicator_tokens'), eps: config.number('ln_eps') };
    golden.takeTokens(ovis.build(golden.params, [golden.gridMap()], options, golden.context));
  },
  'florence2-projector': (golden) => {
    const map = rearrange(golden.input('features', 'b c h w'), 'b c h w -> b h w c');
    golden.takeTokens(florence2.build(golden.params, [map], { eps: golden.config.number('ln_eps') }, {}));
  },
};

/** LLaVA's `mm_projector_type`: `identity`, `linear`, `mlpNx_gelu`, `mlpNx_resMx_gelu`. */
function mlpOrBlocks(golden: GoldenBuild): void {
  const type = golden.config.text('mm_projector_type');
  const maps = [golden.rowMap()];
  if (type === 'identity') return golden.take('tokens', golden.input('features', 'b n c'));
  const [, layers, , blocks] = /^mlp([1-9]\d*)x(_res([1-9]\d*)x)?_gelu$/.exec(type) ?? [];
  if (layers !== undefined && blocks !== undefined)
    return golden.takeTokens(
      llavaNextResMlp.build(golden.params, maps, { layers: Number(layers), blocks: Number(blocks) }, {}),
    );
  if (layers === undefined && type !== 'linear')
    throw new OpabiniaError(`there is no projector '${type}'`, {
      op: 'verify',
      advice: 'identity, linear, mlpNx_gelu or mlpNx_resMx_gelu',
    });
  const linears = layers === undefined ? [''] : Array.from({ length: Number(layers) }, (_, i) => 2 * i);
  golden.takeTokens(llava.build(golden.params, maps, { linears }, {}));
}

/** Patches in any order, with the positions that the file gives; −1 is a padding patch, which has none. */
function gemma4Patches(golden: GoldenBuild): void {
  const config = { eps: 1e-6 };
  const table = golden.params.get('pos_embedding', 'k a c');
  const ids = golden.integers('position_ids', 'b n a');
  const along = (which: number): Tensor<'b n c', Float> => {
    const at = ids.at('a', which);
    return gather(table.at('a', which), at, 'k').where(at.ge(0), 0);
  };
  const place = rearrange(along(0).add(along(1)), 'b (h n) c -> b h w=(n) c', { h: 1 });
  const hidden = gemma4Hidden(golden.params, golden.rowMap('patches'), place, config);
  golden.take('hidden', hidden);
  golden.take('tokens', gemma4Embedded(golden.params, hidden, config, undefined));
}
