// Cambrian's own layout: the Spatial Vision Aggregator in front of and inside of a Llama, a Phi-3 or what has Llama's layers.
import { OpabiniaError } from '../../dsl/index.ts';
import { cambrianDecoders, cambrianShapes } from '../../models/configs/cambrian.ts';
import { decoderShapes } from '../../models/configs/decoder-shapes.ts';
import { readConfig } from '../../models/configs/read.ts';
import type { TowerConfig } from '../../models/configs/towers.ts';
import { connect } from '../../models/connectors/connector.ts';
import { sva } from '../../models/connectors/regions/sva.ts';
import { factsOf } from '../../models/connectors/traced.ts';
import { tokenCount } from '../../models/connectors/visual-tokens.ts';
import type { Layout } from './layout.ts';
import type { LanguagePart, TowerPart } from './parts.ts';

/** Of the released models: layers of the aggregator, its heads, its largest width and grid, SVA layers in the language model. */
const released = { depth: 3, heads: 16, width: 1024, side: 24, inside: 10 } as const;

/** Throws `OpabiniaError` for towers and language models that Cambrian's config cannot name. */
export function svaLayout(language: LanguagePart, towers: readonly TowerPart[], tokens: number | undefined): Layout {
  const refuse = (what: string, advice: string): OpabiniaError => new OpabiniaError(what, { op: 'assemble', advice });
  const [type] = Object.entries(cambrianDecoders).find(([, decoder]) => decoder === language.type) ?? [];
  if (type === undefined)
    throw refuse(
      `SVA stands between the layers of the language model, which Cambrian's layout has of ${Object.values(cambrianDecoders).join(', ')}; ${language.files.directory} is a ${language.type}, whose layers norm what they add to the stream: SVA was never tried between such`,
      'take a connector in front of the language model, such as mlp2x or honeybee-c-abstractor, or a language model of those',
    );
  const known = towers.map(({ tower, files }): TowerConfig => {
    if (tower.config !== undefined) return tower.config;
    throw refuse(
      `Cambrian's layout has towers of CLIP, SigLIP, DINOv2 and ConvNeXt, and ${files.directory} is of the kind ${tower.kind}`,
      'take a connector of the zoo for it, such as mlp2x',
    );
  });
  const own = towers.map(({ map: [rows, columns] }) => Math.min(rows, columns));
  const side = tokens === undefined ? Math.min(released.side, ...own) : Math.round(Math.sqrt(tokens));
  if (side < 1 || (tokens !== undefined && side * side !== tokens))
    throw refuse(
      `${tokens ?? 0} tokens are not a square grid`,
      `SVA gives a square of tokens: ${side ** 2} or ${(side + 1) ** 2}`,
    );
  // Every grid of keys is a whole multiple of the grid of queries.
  const sides = own.map((grid) => side * Math.max(1, Math.floor(grid / side)));
  const folders = known.map(
    ({ tower }, k) => `${tower}-${k}-res${towers[k]?.side ?? 0}${tower === 'convnext' ? '-multi-stage' : ''}`,
  );
  const { hidden, layers } = language.opened.language.config;
  const stride = Math.max(1, Math.floor(layers / released.inside));
  const json = {
    ...language.json,
    model_type: type,
    architectures: [`Cambrian${language.type.replace(/^./, (first) => first.toUpperCase())}ForCausalLM`],
    mm_projector_type: 'sva',
    image_aspect_ratio: 'pad',
    mm_vision_select_layer: -2,
    mm_vision_select_feature: 'patch',
    mm_use_im_start_end: false,
    mm_use_im_patch_token: false,
    mm_vision_tower_aux_list: folders,
    mm_vision_tower_aux_token_len_list: sides.map((each) => each * each),
    image_token_len: side * side,
    query_num_list: [side * side],
    num_query_group: 1,
    connector_depth: released.depth,
    vision_hidden_size: Math.min(released.width, Math.max(1, Math.floor(hidden / released.heads)) * released.heads),
    connector_only: false,
    num_of_vision_sampler_layers: Math.min(released.inside, Math.ceil(layers / stride)),
    start_of_vision_sampler_layers: 0,
    stride_of_vision_sampler_layers: stride,
  };
  const read = readConfig(json, 'config.json');
  if (read.kind !== 'cambrian') throw new TypeError('the config is Cambrian’s');
  const inModel = decoderShapes(read.cambrian.language);
  const { groups, depth, heads, width } = read.cambrian.connector;
  // The zoo's own SVA in this setting says how many tokens it gives.
  const used = connect(sva, { groups, side, depth, heads, width, newline: true });
  const { layout } = factsOf(
    used,
    sides.map((grid, k) => [grid, grid, towers[k]?.map[2] ?? 1]),
    hidden,
  );
  return {
    title: sva.title,
    tokens: tokenCount(layout),
    notes: towers.flatMap(({ files }) =>
      files.preprocessorConfig === undefined
        ? []
        : [`${files.preprocessorConfig} is not read: Cambrian makes pictures as its own code does`],
    ),
    folders,
    json,
    fresh: new Map([...cambrianShapes(read.cambrian, known)].filter(([path]) => !inModel.has(path))),
  };
}
