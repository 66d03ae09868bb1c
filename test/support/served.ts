// `opabinia serve` in this process, on the CPU; and a language model that says one thing whatever it is asked.
import { makeDirectory, writeJson, writeShards } from '../../examples/made/directory.ts';
import { makeTokenizer } from '../../examples/made/vocabulary.ts';
import { serveModel, type ServeFlags } from '../../cli/serve.ts';
import { sizeProduct } from '../../dsl/axis/axes.ts';
import { decoderShapes } from '../../models/configs/decoder-shapes.ts';
import { readConfig } from '../../models/configs/read.ts';

const flags: ServeFlags = {
  host: '127.0.0.1',
  port: '0',
  images: '1',
  queue: '64',
  maxBody: '1',
  rows: '2',
  tower: [],
  dtype: 'f32',
  device: 'cpu',
};

export interface Served {
  readonly url: string;
  /** Resolves when the server is closed. */
  readonly stop: () => Promise<void>;
}

export async function served(directory: string, own: Partial<ServeFlags> = {}): Promise<Served> {
  const stopped = Promise.withResolvers<string>();
  const ready = Promise.withResolvers<string>();
  const serving = serveModel(
    directory,
    { ...flags, ...own },
    { ready: ({ url }) => ready.resolve(url), stopped: () => stopped.promise },
  );
  serving.catch((error: unknown) => ready.reject(error));
  const url = await ready.promise;
  return {
    url,
    stop: async () => {
      stopped.resolve('the test ends');
      await serving;
    },
  };
}

/**
 * A Llama whose layers add nothing: what was read is one vector for every token but the one that is `saying`, whose own leads to the end.
 * The path of the directory.
 */
export function makeSaying(directory: string, saying: string): string {
  const write = (place: string): number => {
    const vocabulary = 320;
    const {
      json,
      config: tokenizer,
      idOf,
    } = makeTokenizer(vocabulary, { controls: ['<s>', '</s>', saying], end: '</s>' });
    const added = (json as { readonly added_tokens: readonly { readonly content: string }[] }).added_tokens;
    // Special ones are not told.
    writeJson(place, 'tokenizer.json', {
      ...json,
      added_tokens: added.map((token) => (token.content === saying ? { ...token, special: false } : token)),
    });
    writeJson(place, 'tokenizer_config.json', tokenizer);
    const [width, end, said] = [8, idOf('</s>'), idOf(saying)];
    const config = {
      model_type: 'llama',
      hidden_size: width,
      intermediate_size: width,
      num_hidden_layers: 1,
      num_attention_heads: 1,
      num_key_value_heads: 1,
      vocab_size: vocabulary,
      rms_norm_eps: 1e-5,
      max_position_embeddings: 1024,
      bos_token_id: idOf('<s>'),
      eos_token_id: end,
    };
    writeJson(place, 'config.json', config);
    const read = readConfig(config, 'config.json');
    if (read.kind !== 'language') throw new TypeError('the config is a language model’s');
    /** Which row of a table has a 1 where. */
    const at = (name: string, row: number): number | undefined => {
      if (name.endsWith('embed_tokens.weight')) return row === said ? 1 : 0;
      return name === 'lm_head.weight'
        ? new Map([
            [said, 0],
            [end, 1],
          ]).get(row)
        : undefined;
    };
    const tensors = [...decoderShapes(read.language)].map(([name, shape]) => {
      const values = new Float32Array(sizeProduct(shape));
      if (shape.length === 1) values.fill(1);
      else
        for (let row = 0; row < (shape[0] ?? 0); row++) {
          const one = at(name, row);
          if (one !== undefined) values[row * width + one] = 1;
        }
      return { name, shape, dtype: 'F32' as const, values };
    });
    writeShards(place, tensors);
    return tensors.reduce((sum, { values }) => sum + values.length, 0);
  };
  return makeDirectory(directory, { what: `says ${saying}`, version: 1, seed: 1, write }).directory;
}
