// Golden kinds of GGUF files: the file named by the config, beside the golden file, opened as `run` opens it.
import { dirname, join } from 'node:path';
import { concat, OpabiniaError, trace } from '../../../dsl/index.ts';
import { ConfigReader } from '../../../models/configs/config-reader.ts';
import { ggufDecoder } from '../../../models/decoders/gguf-decoder.ts';
import { mlp } from '../../../models/parts/mlp.ts';
import { clipConfig, clipVision } from '../../../models/towers/clip.ts';
import { channelsLast } from '../../../models/towers/tower.ts';
import { hiddenState, patchMap } from '../../../models/towers/vit.ts';
import type { GgufFile } from '../../../runtime/gguf/gguf-file.ts';
import { openGgufLanguage } from '../../../runtime/gguf/open-language.ts';
import { openGgufProjector } from '../../../runtime/gguf/gguf-projector.ts';
import { ggufTokenizer } from '../../../runtime/gguf/gguf-tokenizer.ts';
import { normalize, type Rgb } from '../../../runtime/image/image.ts';
import { Tokenizer } from '../../../runtime/text/tokenizer.ts';
import type { GoldenFile } from '../golden-file.ts';
import type { Kind } from '../kind.ts';
import { compare, modelTolerance, type Comparison } from '../verdict.ts';
import { languageGolden } from './language-model.ts';

/** The file that the golden file is about. Throws `OpabiniaError` for a name that leads elsewhere. */
function pathOf(file: GoldenFile): string {
  const name = file.config.text('file');
  if (/^[\w.-]+\.gguf$/.test(name) && !name.startsWith('.')) return join(dirname(file.path), name);
  throw new OpabiniaError(`${file.path} names the file '${name.slice(0, 80)}'`, {
    op: 'verify',
    advice: 'the GGUF file stands beside it',
  });
}

export const ggufLanguageModel: Kind = async (file) => {
  const opened = await openGgufLanguage(pathOf(file), { dtype: file.dtype });
  try {
    const model = ggufDecoder(opened, opened.file.path);
    return {
      ...languageGolden(file, model, opened.checkpoint),
      also: tokenized(file, opened.file),
      close: () => opened.checkpoint.close(),
    };
  } catch (error) {
    opened.checkpoint.close();
    throw error;
  }
};

/** The texts whose ids the config has, without what stands around a text, and the prompt with it. */
function tokenized(file: GoldenFile, gguf: GgufFile): readonly Comparison[] {
  const { json, config } = ggufTokenizer(gguf);
  const tokenizer = new Tokenizer(json, config, gguf.path);
  const row = (name: string, got: readonly number[], wanted: readonly number[]): Comparison =>
    compare(name, [wanted.length], got, wanted, 'f32', { absolute: 0, relative: 0 });
  return [
    ...file.config
      .list('tokenize')
      .map((one, i) =>
        row(
          `tokens ${i}`,
          tokenizer.encode([{ kind: 'user', text: one.text('text') }], { automatic: false }),
          one.numbers('ids'),
        ),
      ),
    row(
      'tokens of the prompt',
      tokenizer.encode([{ kind: 'user', text: file.config.text('prompt') }]),
      file.numbers('input.input_ids'),
    ),
  ];
}

export const ggufProjector: Kind = async (file) => {
  const opened = await openGgufProjector(pathOf(file), { dtype: file.dtype });
  try {
    const config = clipConfig(new ConfigReader(opened.visionConfig, opened.file.path));
    const [b = 1, c = 3, h = 1, w = 1] = file.shape('input.pixel_values');
    const graph = trace(
      opened.checkpoint,
      (t) => {
        const pixels = channelsLast(t.input('pixel_values', 'b c h w', { b, c, h, w }, file.dtype));
        const encoded = clipVision(t.params, pixels, config);
        const patches = concat(
          opened.featureLayers.map((layer) => patchMap(hiddenState(encoded, layer), encoded)),
          'c',
        );
        const project = (activation?: 'gelu-tanh') =>
          mlp(t.params.at('multi_modal_projector'), patches, {
            linears: ['linear_1', 'linear_2'],
            ...(activation === undefined ? {} : { activation }),
          });
        return { hidden: encoded.last, features: project(), features_tanh: project('gelu-tanh') };
      },
      { unread: ['vision_model.post_layernorm', 'image_newline'] },
    );
    return {
      graph,
      source: opened.checkpoint,
      inputs: new Map([['pixel_values', file.numbers('input.pixel_values')]]),
      host: new Map(),
      tolerance: () => modelTolerance,
      beside: (name) => name === 'features_llamacpp',
      also: [pixelsOf(file, opened.pixels)],
      close: () => opened.checkpoint.close(),
    };
  } catch (error) {
    opened.checkpoint.close();
    throw error;
  }
};

/** The file's picture by the mean and deviation of the GGUF file, beside the pixels of the golden file. */
function pixelsOf(
  file: GoldenFile,
  { mean, std }: { readonly mean: readonly number[]; readonly std: readonly number[] },
): Comparison {
  const image = {
    height: file.size('input.image', 0),
    width: file.size('input.image', 1),
    rgb: Uint8Array.from(file.numbers('input.image')),
  };
  const triple = ([r = 0, g = 0, b = 0]: readonly number[]): Rgb => [r, g, b];
  const made = normalize(image, triple(mean), triple(std), 'chw');
  return compare('pixels', file.shape('input.pixel_values'), made, file.numbers('input.pixel_values'), 'f32', {
    absolute: 1e-6,
    relative: 1e-6,
  });
}
