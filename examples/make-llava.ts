// A complete small LLaVA in the layout of Hugging Face: CLIP, projector and language model in shards, a tokenizer with `<image>`, all
// with weights from a seed. `npx node examples/make-llava.ts DIR`; it answers nonsense, the same on every machine.
import { OpabiniaError } from '../dsl/error.ts';
import { readConfig } from '../models/configs/read.ts';
import { llavaShapes } from '../models/multimodal/llava/llava.ts';
import { type LlavaNames } from '../models/multimodal/llava/llava-names.ts';
import { countParameters } from '../models/configs/param-shapes.ts';
import { clipMean, clipStd } from '../models/towers/tower.ts';
import { makeDirectory, makeFromCommand, writeJson, writeShards, type MadeCheckpoint } from './made/directory.ts';
import { makeTokenizer } from './made/vocabulary.ts';
import { makeTensors } from './made/weights.ts';

const version = 1;
const vocabulary = 640;
/** Side of a picture in pixels: four patches. */
const side = 56;

export interface LlavaChoices {
  /** llava: LLaVA-1.5; llava_next: pictures in tiles. */
  readonly type?: 'llava' | 'llava_next' | undefined;
  /** Whose vision tower: CLIP's by default. */
  readonly tower?: 'clip' | 'siglip' | undefined;
  /** Which version of transformers names the parameters. */
  readonly names?: LlavaNames | undefined;
  /** Of `tokenizer_config.json`; none by default, as in the oldest checkpoints. */
  readonly chatTemplate?: string | undefined;
  readonly seed?: number | undefined;
}

/** Writes the directory, or leaves it when it was made like this before. Throws `OpabiniaError` when something else is there. */
export function makeLlava(
  directory: string,
  { type = 'llava', tower = 'clip', names = 'old', chatTemplate, seed = 1 }: LlavaChoices = {},
): MadeCheckpoint {
  const write = (place: string): number => {
    const tokenizer = makeTokenizer(vocabulary, {
      controls: ['<s>', '</s>', '<unk>', '<image>', '<pad>'],
      end: '</s>',
      chatTemplate,
    });
    writeJson(place, 'tokenizer.json', tokenizer.json);
    writeJson(place, 'tokenizer_config.json', tokenizer.config);
    const [begin, end, image] = ['<s>', '</s>', '<image>'].map(tokenizer.idOf);
    const config = {
      architectures: [type === 'llava' ? 'LlavaForConditionalGeneration' : 'LlavaNextForConditionalGeneration'],
      model_type: type,
      image_token_index: image,
      projector_hidden_act: 'gelu',
      vision_feature_layer: -2,
      vision_feature_select_strategy: tower === 'clip' ? 'default' : 'full',
      torch_dtype: 'float32',
      ...(type === 'llava_next'
        ? {
            image_grid_pinpoints: [
              [side, 2 * side],
              [2 * side, side],
              [2 * side, 2 * side],
            ],
          }
        : {}),
      text_config: {
        model_type: 'llama',
        hidden_size: 96,
        intermediate_size: 256,
        num_hidden_layers: 3,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        vocab_size: vocabulary,
        rms_norm_eps: 1e-5,
        max_position_embeddings: 1024,
        eos_token_id: end,
      },
      vision_config: {
        model_type: `${tower}_vision_model`,
        hidden_size: 64,
        intermediate_size: 160,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        image_size: side,
        patch_size: 14,
        projection_dim: 32,
      },
    };
    writeJson(place, 'config.json', config);
    writeJson(place, 'generation_config.json', { bos_token_id: begin, eos_token_id: end, max_new_tokens: 32 });
    writeJson(place, 'preprocessor_config.json', {
      image_processor_type: type === 'llava' ? 'CLIPImageProcessor' : 'LlavaNextImageProcessor',
      do_resize: true,
      size: { shortest_edge: side },
      do_center_crop: true,
      crop_size: { height: side, width: side },
      do_rescale: true,
      rescale_factor: 1 / 255,
      do_normalize: true,
      image_mean: clipMean,
      image_std: clipStd,
      resample: 3,
    });
    const read = readConfig(config, 'config.json');
    if (read.kind !== 'llava') throw new OpabiniaError('the config is not LLaVA’s', { op: 'makeLlava' });
    const shapes = llavaShapes(read.llava, names);
    writeShards(place, makeTensors(shapes, seed));
    return countParameters(shapes);
  };
  const what = [type, ...(tower === 'clip' ? [] : [tower]), names, chatTemplate ?? ''].join(' ');
  return makeDirectory(directory, { what, version, seed, write });
}

makeFromCommand(import.meta.url, 'out/llava', (directory, seed) => makeLlava(directory, { seed }));
