// Golden kinds of vision encoders: every picture size in a file, in every variant, against one checkpoint.
import { rearrange, trace, type Tensor, type Trace } from '../../../dsl/index.ts';
import { backboneMap } from '../../../models/towers/backbone.ts';
import { backbones } from '../../../models/towers/backbones.ts';
import { clipConfig, clipFeatures, clipUnread, clipVision } from '../../../models/towers/clip.ts';
import { convNextUnread } from '../../../models/towers/convnext-shapes.ts';
import { convNext, convNextConfig, convNextFeatures } from '../../../models/towers/convnext.ts';
import { dinov2Unread } from '../../../models/towers/dinov2-shapes.ts';
import { dinov2Config, dinov2Features, dinov2Vision } from '../../../models/towers/dinov2.ts';
import { siglipConfig, siglipFeatures, siglipVision } from '../../../models/towers/siglip.ts';
import { siglipUnread } from '../../../models/towers/siglip-names.ts';
import { channelsLast, type Grid, type Pixels } from '../../../models/towers/tower.ts';
import { patchMap, type Encoded } from '../../../models/towers/vit.ts';
import { modelTolerance } from '../verdict.ts';
import { OutputRecorder, type GoldenFile } from '../golden-file.ts';
import type { GoldenModel, Kind } from '../kind.ts';

/** Makes an output when the file has one of this name for the picture and variant at hand. */
type Take = (name: string, make: () => Tensor) => void;

/** Outputs of one picture by one variant of the model; `grid` is that of Cambrian's features, where the file has them. */
type Build = (t: Trace, pixels: Pixels, variant: string, take: Take, grid: Grid | undefined) => void;

const input = 'pixel_values';

/**
 * Inputs are `pixel_values` and `pixel_values_<tag>`; the outputs of a tag begin with `<tag>.`, and those of a variant with its name
 * after that. `unread` are prefixes of weights that no output needs.
 */
const kind =
  (variants: readonly string[], unread: readonly string[], build: (file: GoldenFile) => Build): Kind =>
  (file): GoldenModel => {
    const names = [...file.checkpoint.stored.keys()]
      .filter((name) => name.startsWith(`input.${input}`))
      .map((name) => name.slice('input.'.length));
    const recorder = new OutputRecorder(file);
    const each = build(file);
    const graph = trace(
      file.checkpoint,
      (t) => {
        for (const name of names) {
          const [b = 1, c = 3, h = 1, w = 1] = file.shape(`input.${name}`);
          const pixels = channelsLast(t.input(name, 'b c h w', { b, c, h, w }, file.dtype));
          const tag = name.slice(input.length + 1);
          for (const variant of ['', ...variants]) {
            const prefix = [tag, variant]
              .filter((part) => part !== '')
              .map((part) => `${part}.`)
              .join('');
            const take: Take = (output, make) => {
              if (recorder.wants(prefix + output)) recorder.take(prefix + output, make());
            };
            each(t, pixels, variant, take, featureGrid(file, `${prefix}cambrian_features`));
          }
        }
        return recorder.tensors;
      },
      { unread: ['input', 'output', ...unread] },
    );
    return {
      graph,
      inputs: new Map(names.map((name) => [name, file.numbers(`input.${name}`)])),
      host: new Map(),
      tolerance: () => modelTolerance,
    };
  };

/** Cambrian resizes every tower to a square grid. */
function featureGrid(file: GoldenFile, output: string): Grid | undefined {
  if (!file.has(`output.${output}`)) return undefined;
  const side = Math.round(Math.sqrt(file.size(`output.${output}`, 1)));
  return [side, side];
}

function takeStates(take: Take, encoded: Encoded & { readonly pooled: () => Tensor }): void {
  const { hidden, embeddings } = encoded;
  take('embeddings', () => embeddings);
  take('block0', () => hidden[1] ?? embeddings);
  take('penultimate', () => hidden.at(-2) ?? embeddings);
  take('last_hidden_state', () => encoded.last);
  take('pooler_output', encoded.pooled);
}

export const clip = kind([], clipUnread, (file) => {
  const config = clipConfig(file.config);
  return (t, pixels, _variant, take, grid) => {
    const encoded = clipVision(t.params, pixels, config);
    takeStates(take, encoded);
    take('pre_layernorm', () => encoded.hidden[0] ?? encoded.embeddings);
    take('patch_features', () => patchMap(encoded.hidden.at(-2) ?? encoded.embeddings, encoded));
    take('cambrian_features', () => clipFeatures(t.params, pixels, config, { grid }));
  };
});

export const siglip = kind(['erf'], siglipUnread, (file) => {
  const stated = siglipConfig(file.config);
  return (t, pixels, variant, take, grid) => {
    const config = variant === 'erf' ? { ...stated, activation: 'exact' as const } : stated;
    const encoded = siglipVision(t.params, pixels, config);
    takeStates(take, encoded);
    for (const name of ['pre_post_layernorm', 'pre_norm'])
      take(name, () => encoded.hidden.at(-1) ?? encoded.embeddings);
    take('cambrian_features', () => siglipFeatures(t.params, pixels, config, { grid }));
  };
});

export const dinov2 = kind(['offset01'], dinov2Unread, (file) => {
  const [bySizes, byOffset] = [dinov2Config(file.config, 'sizes'), dinov2Config(file.config, { offset: 0.1 })];
  return (t, pixels, variant, take, grid) => {
    const config = variant === 'offset01' ? byOffset : bySizes;
    const encoded = dinov2Vision(t.params, pixels, config);
    takeStates(take, encoded);
    take('pos_embed', () => encoded.positions ?? encoded.embeddings);
    take('cambrian_features', () => dinov2Features(t.params, pixels, config, { grid }));
  };
});

/** Every backbone of the registry, by the golden kind that its file names. */
export const backboneKinds: readonly (readonly [string, Kind])[] = backbones.map((type) => [
  type.kind,
  kind([], type.unread ?? [], (file) => {
    const backbone = type.read(file.config);
    return (t, pixels, _variant, take, grid) => {
      const { hidden, embeddings, named = {}, ...encoded } = backbone.encode(t.params, pixels);
      for (const [name, make] of Object.entries(named)) take(name, make);
      const taken = (name: string, make: () => Tensor): void => {
        if (!Object.hasOwn(named, name)) take(name, make);
      };
      taken('embeddings', () => embeddings);
      taken('block0', () => hidden[1] ?? embeddings);
      taken('penultimate', () => hidden.at(-2) ?? embeddings);
      taken('pre_layernorm', () => hidden[0] ?? embeddings);
      for (const name of ['hidden_last', 'pre_norm', 'last_hidden_unnormed'])
        taken(name, () => hidden.at(-1) ?? embeddings);
      taken('last_hidden_state', () => encoded.last);
      taken('patch_features', () => encoded.features);
      taken('cambrian_features', () => backboneMap({ hidden, embeddings, ...encoded }, grid));
    };
  }),
]);

export const convNextKind = kind([], convNextUnread, (file) => {
  const config = convNextConfig(file.config);
  return (t, pixels, _variant, take, grid) => {
    const encoded = convNext(t.params, pixels, config);
    const channelsFirst = (map: Pixels) => rearrange(map, 'b h w c -> b c h w');
    take('stem', () => channelsFirst(encoded.stem));
    take('block0', () => channelsFirst(encoded.blocks[0]?.[0] ?? encoded.stem));
    encoded.stages.forEach((map, s) => {
      take(`stage${s}`, () => channelsFirst(map));
    });
    take('pooled', encoded.pooled);
    take('cambrian_features', () => convNextFeatures(t.params, pixels, config, { grid }));
  };
});
