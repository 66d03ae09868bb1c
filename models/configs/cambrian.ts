// Cambrian-1's config.json (model types `cambrian_llama`, `cambrian_phi3`, and those of decoders of the same blocks): the language model's fields, the towers' names, the connector.
import { z } from 'zod';
import { nearestNames, OpabiniaError } from '../../dsl/index.ts';
import type { VisionSchedule } from '../multimodal/cambrian.ts';
import { samplerLayer, svaShapes } from '../parts/sva/shapes.ts';
import type { DecoderConfig, LanguageModel } from '../decoders/decoder.ts';
import type { DecoderName } from '../decoders/families.ts';
import { under, type ShapeEntry, type Shapes } from './param-shapes.ts';
import { decoderFields, readDecoder } from './decoders.ts';
import { checkConfig, layers, name, positions, tokens, width, type ConfigJson } from './fields.ts';
import { decoderShapes } from './decoder-shapes.ts';
import { towerChannels, type TowerConfig, type TowerKind } from './towers.ts';

/** A tower as Cambrian's config names it: `facebook/dinov2-giant-res378`, `clip-convnext-XXL-multi-stage`. */
export interface NamedTower {
  readonly name: string;
  readonly kind: TowerKind;
  /** Side in pixels that the name or the release states; undefined: what the tower's own config says. */
  readonly pixels: number | undefined;
  /** Side of the token grid that its map is resized to. */
  readonly side: number;
  /** ConvNeXt: all stages side by side, or the last alone. */
  readonly allStages: boolean;
  /** Where its checkpoint is, since Cambrian's has none: repositories on the hub. */
  readonly repos: readonly string[];
}

/** Decoders that SVA layers stand in: those of the released models, and those whose layers are Llama's, with biases, norms of heads or a window. */
export const cambrianDecoders = {
  cambrian_llama: 'llama',
  cambrian_phi3: 'phi3',
  cambrian_mistral: 'mistral',
  cambrian_qwen2: 'qwen2',
  cambrian_qwen3: 'qwen3',
} as const satisfies Readonly<Record<string, DecoderName>>;

export type CambrianType = keyof typeof cambrianDecoders;

export function isCambrianType(type: unknown): type is CambrianType {
  return typeof type === 'string' && Object.hasOwn(cambrianDecoders, type);
}

export interface CambrianConfig {
  readonly type: CambrianType;
  readonly language: LanguageModel;
  readonly towers: readonly NamedTower[];
  readonly connector: {
    readonly groups: readonly number[];
    /** Side of the grid of image tokens. */
    readonly side: number;
    readonly depth: number;
    readonly width: number;
    readonly heads: number;
  };
  /** SVA layers inside the language model; undefined with `connector_only`. */
  readonly schedule: VisionSchedule | undefined;
  /** Where the released models expect the image block to begin; undefined where the config does not say. */
  readonly imagePosition: number | undefined;
  /** `mm_vision_select_layer`, which acts on CLIP alone. */
  readonly clipLayer: number;
}

const list = z.array(tokens).min(1).max(16);

const schema = z.looseObject({
  ...decoderFields,
  mm_projector_type: z.string().max(40),
  mm_vision_tower_aux_list: z.array(name).min(1).max(16),
  mm_vision_tower_aux_token_len_list: list,
  image_token_len: tokens,
  query_num_list: list,
  num_query_group: z.int().min(1).max(16).nullish(),
  connector_depth: z.int().min(1).max(64),
  vision_hidden_size: width,
  connector_only: z.boolean().nullish(),
  image_position: positions.nullish(),
  mm_vision_select_layer: z.int().min(-1_000).max(1_000).nullish(),
  num_of_vision_sampler_layers: z.int().min(0).max(1_000).nullish(),
  start_of_vision_sampler_layers: z.int().min(0).max(1_000).nullish(),
  stride_of_vision_sampler_layers: layers.nullish(),
});

/** Heads of every SVA layer, fixed in Cambrian's code. */
const svaHeads = 16;

/** Throws `OpabiniaError` for a field out of range, lists that do not go together, and grids that do not divide. */
export function readCambrian(json: ConfigJson, type: CambrianConfig['type'], where: string): CambrianConfig {
  const fields = checkConfig(schema, json, where);
  const refuse = (what: string, advice: string) => new OpabiniaError(`${where}: ${what}`, { op: 'config', advice });
  const {
    mm_vision_tower_aux_list: names,
    mm_vision_tower_aux_token_len_list: lengths,
    query_num_list: queries,
  } = fields;
  if (fields.mm_projector_type !== 'sva')
    throw refuse(
      `mm_projector_type is '${fields.mm_projector_type}'`,
      "Cambrian's released models have 'sva'; the connectors it is compared with are in models/connectors",
    );
  if (names.length !== lengths.length)
    throw refuse(
      `${names.length} towers are named and ${lengths.length} token counts`,
      'mm_vision_tower_aux_list and mm_vision_tower_aux_token_len_list go together',
    );
  if ((fields.num_query_group ?? queries.length) !== queries.length)
    throw refuse(
      `num_query_group is ${String(fields.num_query_group)}, and query_num_list has ${queries.length}`,
      'one count for each group',
    );
  const sideOf = (count: number, field: string) => {
    const side = Math.round(Math.sqrt(count));
    if (side * side !== count) throw refuse(`${count} tokens in ${field} are not a square grid`, 'grids are square');
    return side;
  };
  const [side, groups] = [
    sideOf(fields.image_token_len, 'image_token_len'),
    queries.map((count) => sideOf(count, 'query_num_list')),
  ];
  const towers = names.map((named, k) =>
    namedTower(named, sideOf(lengths[k] ?? 0, 'mm_vision_tower_aux_token_len_list'), where),
  );
  const grids = fields.connector_only === true ? groups : [...groups, side];
  for (const tower of towers) {
    const wrong = grids.find((grid) => tower.side % grid !== 0);
    if (wrong !== undefined)
      throw refuse(
        `the ${tower.side} × ${tower.side} tokens of '${tower.name}' do not divide among ${wrong} × ${wrong} queries`,
        'every grid of queries must divide every grid of tokens',
      );
  }
  if (fields.vision_hidden_size % svaHeads !== 0)
    throw refuse(
      `vision_hidden_size is ${fields.vision_hidden_size}, which is not a multiple of the ${svaHeads} heads`,
      'SVA layers always have 16 heads',
    );
  const language = readDecoder(json, cambrianDecoders[type], where, 'older');
  return {
    type,
    language,
    towers,
    connector: { groups, side, depth: fields.connector_depth, width: fields.vision_hidden_size, heads: svaHeads },
    schedule: readSchedule(fields, language.config, refuse),
    imagePosition: fields.image_position ?? undefined,
    clipLayer: fields.mm_vision_select_layer ?? -2,
  };
}

function readSchedule(
  fields: z.infer<typeof schema>,
  { layers: depth }: DecoderConfig,
  refuse: (what: string, advice: string) => OpabiniaError,
): VisionSchedule | undefined {
  const count = fields.num_of_vision_sampler_layers ?? 0;
  if (fields.connector_only === true || count === 0) return undefined;
  const [start, stride] = [fields.start_of_vision_sampler_layers, fields.stride_of_vision_sampler_layers];
  if (typeof start !== 'number' || typeof stride !== 'number')
    throw refuse(
      `${count} SVA layers stand in the language model, but not after which of its layers`,
      'give start_of_vision_sampler_layers and stride_of_vision_sampler_layers',
    );
  const last = start + (count - 1) * stride;
  if (last >= depth)
    throw refuse(
      `the last of ${count} SVA layers comes after layer ${last}, and the language model has layers 0 to ${depth - 1}`,
      'start + (number − 1) · stride must be below num_hidden_layers',
    );
  return { start, stride, count };
}

interface Family {
  readonly kind: TowerKind;
  readonly pattern: RegExp;
  readonly pixels?: (name: string) => number | undefined;
  readonly repos: (name: string) => readonly string[];
}

const families: readonly Family[] = [
  {
    kind: 'siglip',
    pattern: /siglip/i,
    repos: (named) =>
      /SO400M-14-384/i.test(named) ? ['timm/ViT-SO400M-14-SigLIP-384', 'google/siglip-so400m-patch14-384'] : [],
  },
  { kind: 'dinov2', pattern: /dinov2/i, repos: (named) => [named] },
  {
    kind: 'convnext',
    pattern: /convnext/i,
    pixels: (named) => (/-XXL/i.test(named) ? 1024 : undefined),
    repos: (named) => (/-XXL/i.test(named) ? ['laion/CLIP-convnext_xxlarge-laion2B-s34B-b82K-augreg-soup'] : []),
  },
  { kind: 'clip', pattern: /clip/i, repos: (named) => (named.includes('/') ? [named] : []) },
];

/** What a name of Cambrian's says: the kind, `-res378`, `-multi-stage`. Throws `OpabiniaError` for a kind that is not known. */
export function namedTower(full: string, side: number, where: string): NamedTower {
  const base = full
    .replace(/-interp\d+$/, '')
    .replace(/-multi-stage$/, '')
    .replace(/-res\d+$/, '')
    .replace(/-interp\d+$/, '');
  const family = families.find(({ pattern }) => pattern.test(base));
  if (family === undefined) {
    throw new OpabiniaError(`${where} names the vision tower '${full}', which is not known`, {
      op: 'config',
      advice: `its name must tell its kind: ${nearestNames(full, ['siglip', 'clip', 'dinov2', 'convnext'], 4).join(', ')}`,
    });
  }
  const stated = /-res(\d{1,5})/.exec(full)?.[1];
  return {
    name: full,
    kind: family.kind,
    side,
    allStages: full.includes('-multi-stage'),
    pixels: stated === undefined ? family.pixels?.(base) : Number(stated),
    repos: family.repos(base),
  };
}

/** Names and shapes of Cambrian's own checkpoint: the language model, the connector, the SVA layers between; no towers. */
export function cambrianShapes(config: CambrianConfig, towers: readonly TowerConfig[]): Shapes {
  const { connector, language, schedule } = config;
  const channels = towers.map((tower, k) => towerChannels(tower, config.towers[k]?.allStages ?? true));
  const sva = {
    channels,
    sides: config.towers.map((tower) => tower.side),
    groups: connector.groups,
    depth: connector.depth,
    width: connector.width,
    out: language.config.hidden,
  };
  const between = Array.from({ length: schedule?.count ?? 0 }, (_, j) =>
    samplerLayer(`vision_sampler_layers.${j}.layers.0`, sva, connector.side, language.config.hidden),
  ).flat();
  const newline: ShapeEntry = ['image_newline', [language.config.hidden]];
  return new Map([...decoderShapes(language), ...under('model', [...svaShapes(sva), newline, ...between])]);
}
