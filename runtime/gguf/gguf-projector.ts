// LLaVA's `mmproj`: CLIP's tower without the block that nobody reads, the projector behind it, and of LLaVA-NeXT (1.6) how its tiles lie.
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { ggufCheckpoint, type PlacedTensor } from './gguf-checkpoint.ts';
import { GgufError, openGguf, type GgufFile, type GgufTensor } from './gguf-file.ts';
import { GgufSettings } from './gguf-settings.ts';

export interface OpenedProjector {
  readonly file: GgufFile;
  /** `vision_config` of CLIP, without the blocks behind the last feature layer. */
  readonly visionConfig: Readonly<Record<string, unknown>>;
  /** Hidden states that the projector reads, their channels side by side: 0 is what enters the first block. */
  readonly featureLayers: readonly number[];
  /** LLaVA-NeXT: heights and widths of the canvases that a picture may be put on, where the file lists them; undefined for LLaVA 1.5. */
  readonly next: { readonly canvases: readonly (readonly [height: number, width: number])[] | undefined } | undefined;
  readonly pixels: { readonly side: number; readonly mean: readonly number[]; readonly std: readonly number[] };
  readonly placed: readonly PlacedTensor[];
  /** Names as in LLaVA's checkpoint: `vision_model.…`, `multi_modal_projector.…`, and LLaVA-NeXT's `image_newline`. */
  readonly checkpoint: Checkpoint;
}

/**
 * Opens an `mmproj` of LLaVA 1.5's kind, or of 1.6's. Throws `OpabiniaError` for another projector, with what is known; nothing stays open then.
 * @example const { visionConfig, checkpoint } = await openGgufProjector('mmproj.gguf')
 */
export async function openGgufProjector(
  path: string,
  options: { readonly dtype?: 'f32' | 'f16' | undefined } = {},
): Promise<OpenedProjector> {
  const file = await openGguf(path);
  try {
    const settings = new GgufSettings(file);
    const architecture = settings.text('general.architecture');
    if (architecture !== 'clip')
      throw new GgufError(
        path,
        `is of the architecture '${architecture.slice(0, 80)}'`,
        "an mmproj is of the architecture 'clip'",
      );
    const kind = settings.text('clip.projector_type', settings.text('clip.vision.projector_type', 'mlp'));
    if (kind !== 'mlp')
      throw new GgufError(path, `has a projector of the type '${kind.slice(0, 40)}'`, "known is 'mlp', LLaVA's own");
    const at = (key: string): number => settings.number(`clip.vision.${key}`);
    const width = at('embedding_length');
    const activation = settings.flag('clip.use_gelu', false)
      ? 'gelu'
      : settings.flag('clip.use_silu', false)
        ? 'silu'
        : 'quick_gelu';
    const stored = storedBlocks(file);
    const featureLayers = featuresOf(file, stored);
    const blocks = featureLayers.at(-1) ?? 0;
    const visionConfig = {
      hidden_size: width,
      num_hidden_layers: blocks,
      num_attention_heads: at('attention.head_count'),
      intermediate_size: at('feed_forward_length'),
      image_size: at('image_size'),
      patch_size: at('patch_size'),
      layer_norm_eps: at('attention.layer_norm_epsilon'),
      hidden_act: activation,
    };
    const placed = [...file.tensors.values()].flatMap((tensor): readonly PlacedTensor[] => {
      const block = /^v\.blk\.(\d+)\./.exec(tensor.name)?.[1];
      const isBehind = block !== undefined && Number(block) >= blocks && Number(block) < stored;
      const name = isBehind ? undefined : hubName(tensor, file, width);
      return name === undefined ? [] : [{ file, name, shape: tensor.shape, tensor }];
    });
    return {
      file,
      visionConfig,
      featureLayers,
      next: nextOf(file),
      pixels: {
        side: at('image_size'),
        mean: settings.numbers('clip.vision.image_mean'),
        std: settings.numbers('clip.vision.image_std'),
      },
      placed,
      checkpoint: ggufCheckpoint(placed, { path, dtype: options.dtype ?? 'f32', close: () => file.close() }),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** The old converter drops the tower's last block, and states the number of those that are left. Throws `GgufError` where it does not. */
function storedBlocks(file: GgufFile): number {
  const found = new Set([...file.tensors.keys()].flatMap((name) => /^v\.blk\.(\d+)\./.exec(name)?.[1] ?? []));
  const stated = new GgufSettings(file).number('clip.vision.block_count');
  if (found.size !== stated) throw new GgufError(file.path, `states ${stated} blocks and has ${found.size}`);
  return stated;
}

/**
 * The hidden states that the file lists, or the last one. As in llama.cpp, blocks behind the last of them do not run, and several lie side
 * by side in rising order. Throws `GgufError` for one that the tower does not have.
 */
function featuresOf(file: GgufFile, blocks: number): readonly number[] {
  const key = 'clip.vision.feature_layer';
  const settings = new GgufSettings(file);
  const listed = settings.has(key) ? [...new Set(settings.numbers(key))].sort((a, b) => a - b) : [];
  if (listed.length === 0) return [blocks];
  if (!listed.every((layer) => Number.isInteger(layer) && layer >= 0 && layer <= blocks) || listed.at(-1) === 0)
    throw new GgufError(
      file.path,
      `has '${key}' of ${listed.slice(0, 8).join(', ')}, and its tower has ${blocks} blocks`,
      `layers from 0, which is what enters the first block, to ${blocks} are read, and not 0 alone`,
    );
  return listed;
}

/** What ends the rows of a LLaVA-NeXT's tiles says that it is one. Throws `GgufError` for canvases that are no pairs of whole numbers. */
function nextOf(file: GgufFile): OpenedProjector['next'] {
  const [key, merging] = ['clip.vision.image_grid_pinpoints', 'clip.vision.mm_patch_merge_type'];
  const settings = new GgufSettings(file);
  const merge = settings.text(merging, 'flat');
  if (merge !== 'flat' && merge !== 'spatial_unpad')
    throw new GgufError(file.path, `has '${merging}' '${merge.slice(0, 40)}'`, 'known are flat and spatial_unpad');
  if (merge === 'flat' && !file.tensors.has('model.image_newline')) return undefined;
  if (!settings.has(key)) return { canvases: undefined };
  const sides = settings.numbers(key);
  if (sides.length % 2 !== 0 || sides.length === 0 || !sides.every((side) => Number.isInteger(side) && side > 0))
    throw settings.wrong(key, 'pairs of heights and widths');
  return { canvases: Array.from({ length: sides.length / 2 }, (_, i) => [sides[2 * i] ?? 0, sides[2 * i + 1] ?? 0]) };
}

const places: Readonly<Record<string, string>> = {
  'model.image_newline': 'image_newline',
  'v.class_embd': 'vision_model.embeddings.class_embedding',
  'v.patch_embd.weight': 'vision_model.embeddings.patch_embedding.weight',
  'v.position_embd.weight': 'vision_model.embeddings.position_embedding.weight',
  'v.pre_ln.weight': 'vision_model.pre_layrnorm.weight',
  'v.pre_ln.bias': 'vision_model.pre_layrnorm.bias',
  'v.post_ln.weight': 'vision_model.post_layernorm.weight',
  'v.post_ln.bias': 'vision_model.post_layernorm.bias',
  'mm.0.weight': 'multi_modal_projector.linear_1.weight',
  'mm.0.bias': 'multi_modal_projector.linear_1.bias',
  'mm.2.weight': 'multi_modal_projector.linear_2.weight',
  'mm.2.bias': 'multi_modal_projector.linear_2.bias',
};

const inBlock: Readonly<Record<string, string>> = {
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_out: 'self_attn.out_proj',
  ln1: 'layer_norm1',
  ln2: 'layer_norm2',
  ffn_up: 'mlp.fc1',
  ffn_down: 'mlp.fc2',
};

/** The name in LLaVA's checkpoint; its own for one that LLaVA has not. */
function hubName({ name }: GgufTensor, file: GgufFile, width: number): string | undefined {
  const known = places[name];
  if (known !== undefined) return known;
  const [, block = '', part = '', end = ''] = /^v\.blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const place = inBlock[namedRight(part, block, file, width)];
  return place === undefined ? name : `vision_model.encoder.layers.${block}.${place}.${end}`;
}

/**
 * Old files call the first matrix of the MLP `ffn_down`, and the second `ffn_up`: the first is the one that reads the tower's width. Where
 * both are of one width, the names count.
 */
function namedRight(part: string, block: string, file: GgufFile, width: number): string {
  if (part !== 'ffn_up' && part !== 'ffn_down') return part;
  const [rows, columns] = file.tensors.get(`v.blk.${block}.ffn_up.weight`)?.shape ?? [];
  const isSwapped = columns !== width && rows === width;
  return isSwapped ? (part === 'ffn_up' ? 'ffn_down' : 'ffn_up') : part;
}
