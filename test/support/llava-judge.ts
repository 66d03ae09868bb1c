// Greedy tokens of a LLaVA directory by the interpreter, which reads the whole sequence anew for each: the judge of whatever runs faster.
import { join } from 'node:path';
import { LlavaFamily } from '../../pipelines/answer/families/llava.ts';
import type { OpenedModel } from '../../pipelines/answer/open-model.ts';
import type { LlavaConfig } from '../../models/configs/llava.ts';
import { turnTables } from '../../models/decoders/turn-graph.ts';
import { anyresLayout, anyresSlots } from '../../models/sequence/anyres.ts';
import { llavaPrefillGraph } from './llava-turns.ts';
import { llavaVisionGraph } from '../../models/multimodal/llava/llava-graphs.ts';
import { layOutPrompts, viewSlots } from '../../models/multimodal/llava/llava-prompts.ts';
import { modelFiles, readJsonFile } from '../../runtime/checkpoint/hub.ts';
import type { Image } from '../../runtime/image/image.ts';
import { anyresTiles } from '../../runtime/image/anyres-tiles.ts';
import { processPicture, readProcessor } from '../../runtime/image/preprocess.ts';
import { readTokenizer } from '../../runtime/text/read-tokenizer.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

/** Tokens that are judged. */
export const judgedSteps = 6;

function configOf({ family }: OpenedModel): LlavaConfig {
  if (family instanceof LlavaFamily) return family.config;
  throw new Error('the made directory is a LLaVA');
}

/** `USER: <image>\n{text} ASSISTANT:` with the token of an image once for each picture, put together from pieces. */
function promptIds({ directory }: OpenedModel, image: number, text: string, pictures: number): readonly number[] {
  // In this process: the judge asks no sandbox.
  const tokenizer = readTokenizer(join(directory, 'tokenizer.json'));
  const ids = (piece: string) => tokenizer.encode([{ kind: 'control', text: piece }], { automatic: false });
  const begin = tokenizer.idOf('<s>') ?? -1;
  if (pictures === 0) return [begin, ...ids(`USER: ${text} ASSISTANT:`)];
  const shown = Array.from({ length: pictures }, (_, i) => [...(i === 0 ? [] : ids('\n')), image]).flat();
  return [begin, ...ids('USER: '), ...shown, ...ids(`\n${text} ASSISTANT:`)];
}

export interface Judged {
  readonly tokens: readonly number[];
  /** Of each token, before the next likeliest. */
  readonly leads: readonly number[];
}

/** Greedy tokens by `llavaPrefillGraph` in f64 alone: no cache, no decode step, none of the graphs that the session runs for text. */
export function judgeLlava(model: OpenedModel, text: string, pictures: readonly Image[]): Judged {
  const config = configOf(model);
  const {
    vision: { image: tile, patch },
    canvases,
  } = config;
  const processor = readProcessor(
    readJsonFile(modelFiles(model.directory).preprocessorConfig ?? ''),
    'preprocessor_config.json',
  );
  const views: Float32Array[] = [];
  const images = pictures.map((picture) => {
    const first = views.length;
    const tiles = config.type === 'llava' ? [picture] : anyresTiles(picture, canvases, tile).tiles;
    views.push(...tiles.map((one) => processPicture(one, processor).pixels));
    return config.type === 'llava'
      ? viewSlots(config, first)
      : anyresSlots(anyresLayout(picture, { canvases, tile, side: tile / patch }), first);
  });
  const prompt = promptIds(model, config.imageToken, text, pictures.length);
  const sizes = { batch: 1, capacity: 320, promptLimit: 319, viewLimit: Math.max(1, views.length) };
  const params = (path: string, shape: readonly number[]) => model.source.read(path, shape);
  let states: ReadonlyMap<string, ArrayLike<number>> = new Map();
  const look = llavaVisionGraph(model.source, config, sizes);
  views.forEach((pixels, view) => {
    states = evaluate(
      look,
      { inputs: new Map([['pixels', pixels]]), params, states, symbols: new Map([['view', view]]) },
      { precision: 'f64' },
    ).states;
  });
  const read = llavaPrefillGraph(model.source, config, sizes);
  const tokens: number[] = [];
  const leads: number[] = [];
  while (tokens.length < judgedSteps) {
    const { ids, slots, last, length } = layOutPrompts([{ ids: [...prompt, ...tokens], images }], config, sizes);
    const tables = turnTables(
      config.language.config,
      Array.from({ length }, (_, i) => i),
    );
    const inputs = new Map<string, ArrayLike<number>>([
      ['ids', ids],
      ['slots', slots],
      ['last', last],
      ...Object.entries(tables),
    ]);
    const logits = Array.from(
      evaluate(read, { inputs, params, states, symbols: new Map([['s', length]]) }, { precision: 'f64' }).outputs.get(
        'logits',
      )?.data ?? [],
    );
    const [best = NaN, second = NaN] = [...logits].sort((a, b) => b - a);
    leads.push(best - second);
    tokens.push(logits.indexOf(best));
  }
  return { tokens, leads };
}
