// LLaVA-1.5, LLaVA-NeXT and LLaVA-OneVision answer: the directory's chat template or Vicuna's form, pictures as its own processor makes them.
import { OpabiniaError } from '../../../dsl/index.ts';
import { llavaClasses, type LlavaConfig } from '../../../models/configs/llava.ts';
import { newlineSlot } from '../../../models/sequence/collate.ts';
import { checkUserText } from '../../../models/sequence/conversation.ts';
import {
  llavaAnswerDecodeGraph,
  llavaAnswerPrefillGraph,
  llavaDecodeParts,
  mostViews,
} from '../../../models/multimodal/llava/llava-answer.ts';
import { anyresLayout, anyresPlaces, betweenNames, type Place } from '../../../models/sequence/anyres.ts';
import { llavaNames } from '../../../models/multimodal/llava/llava-names.ts';
import { llavaShapes, viewTokens } from '../../../models/multimodal/llava/llava.ts';
import { llavaVisionGraph } from '../../../models/multimodal/llava/llava-graphs.ts';
import { layOutPrompts, viewSlots, type LlavaPrompt } from '../../../models/multimodal/llava/llava-prompts.ts';
import type { Shapes } from '../../../models/configs/param-shapes.ts';
import type { DecodeParts } from '../../../models/decoders/row-graphs.ts';
import { needFile, readJsonFile } from '../../../runtime/checkpoint/hub.ts';
import type { Image } from '../../../runtime/image/image.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { anyresTiles } from '../../../runtime/image/anyres-tiles.ts';
import {
  processedSize,
  processPicture,
  readProcessor,
  type ImageProcessor,
} from '../../../runtime/image/preprocess.ts';
import type { SandboxTokenizer } from '../../../runtime/text/open-tokenizer.ts';
import type { PromptPart } from '../../../runtime/text/tokenizer.ts';
import type { AnswerSizes, Family, FamilyPlan, LaidOut, Opening, Question, View, Wanted } from '../family.ts';
import { describeLanguage } from './language.ts';
import { describeTower } from './tower-match.ts';
import { messagesOf, neededTemplate, ownTemplate, type ChatTemplate, templatedIds } from '../templates.ts';
import { plural } from '../../../dsl/text/plural.ts';

const imageText = '<image>';

/** Throws `OpabiniaError` for a processor that makes other pictures than the tower reads. */
export function planLlava(config: LlavaConfig, { files, directory }: Opening): FamilyPlan {
  // Refuses tiles with class tokens, before anything is opened.
  viewTokens(config);
  const path = needFile(files.preprocessorConfig, 'preprocessor_config.json', files);
  const processor = readProcessor(files.stated?.processor ?? readJsonFile(path), path);
  checkProcessor(processor, config, path);
  // OneVision never spoke as Vicuna did.
  const template =
    config.type === 'llava_onevision' ? neededTemplate(files, imageText) : (ownTemplate(files) ?? vicuna);
  return {
    language: config.language,
    upright: true, // transformers' `load_image`
    towers: [],
    title: `a ${llavaClasses[config.type].title}`,
    parts: [
      {
        name: 'tower',
        what: describeTower({ tower: config.tower ?? 'clip', config: config.vision }),
        isTower: true,
        owns: (path) => /(?:^|\.)vision_tower\./.test(path),
      },
      {
        name: 'connector',
        owns: (path) => /(?:^|\.)(?:multi_modal_projector\.|image_newline$)/.test(path),
        what: `mlp2x_gelu, ${plural(viewTokens(config), 'token')} a ${config.type === 'llava' ? 'picture' : 'tile'}`,
      },
      { name: 'language model', what: describeLanguage(config.language), owns: () => true },
    ],
    wanted: (stored) => wantedOf(config, stored),
    checkTokenizer: (tokenizer) => checkImageToken(tokenizer, config, directory),
    family: (source, tokenizer) => new LlavaFamily(config, { source, tokenizer, template, processor }),
  };
}

function checkImageToken(tokenizer: SandboxTokenizer, config: LlavaConfig, directory: string): void {
  const image = tokenizer.idOf(imageText);
  if (image !== config.imageToken) {
    // One beyond the embeddings belongs to no token: the text around a picture is split there, and nowhere spelled.
    if (image === undefined && config.imageToken >= config.language.config.vocabulary) return;
    throw new OpabiniaError(
      `the tokenizer of ${directory} ${image === undefined ? `has no token ${imageText}` : `has ${imageText} as ${image}`}, and the config says image_token_index ${config.imageToken}`,
      { op: 'openModel', advice: 'take tokenizer.json and config.json from one revision of one model' },
    );
  }
}

function checkProcessor(
  processor: ImageProcessor,
  { type, canvases, vision: { image } }: LlavaConfig,
  path: string,
): void {
  const refuse = (
    what: string,
    advice = 'take preprocessor_config.json and config.json from one revision of one model',
  ) => new OpabiniaError(`${path} ${what}`, { op: 'openModel', advice });
  const size = processedSize(processor);
  if (size?.height !== image || size.width !== image)
    throw refuse(
      `makes pictures of ${size === undefined ? 'no fixed size' : `${size.height} × ${size.width}`}, and the tower reads pictures of ${image} × ${image}`,
    );
  if (type === 'llava') return;
  const print = (sizes: LlavaConfig['canvases']): string =>
    sizes.map(([height, width]) => `${height} × ${width}`).join(', ');
  // The order decides between canvases that serve a picture equally well.
  if (processor.canvases !== undefined && print(processor.canvases) !== print(canvases))
    throw refuse(`has image_grid_pinpoints ${print(processor.canvases)}, and config.json ${print(canvases)}`);
  if (processor.filter === 'nearest')
    throw refuse('takes the nearest pixel, which tiles are not made with', "resample 3 is the released models' own");
}

/** Between the two sets of names, versions of transformers had the new ones with the tower's `vision_model` kept. */
function wantedOf(config: LlavaConfig, stored: Shapes): Wanted {
  const names = llavaNames({ shape: (path) => stored.get(path) });
  const tower = names === 'old' ? 'vision_tower' : 'model.vision_tower';
  const witness = config.tower === 'siglip' ? 'position_embedding.weight' : 'class_embedding';
  const inner =
    [`${tower}.vision_model`, tower].find((root) => stored.has(`${root}.embeddings.${witness}`)) ??
    `${tower}.vision_model`;
  const placed = (name: string): string =>
    name.startsWith(`${tower}.`) ? `${inner}.${name.slice(tower.length + 1).replace(/^vision_model\./, '')}` : name;
  // The tower's last norm is nowhere read.
  const shapes = new Map(
    [...llavaShapes(config, names)]
      .map(([name, shape]) => [placed(name), shape] as const)
      .filter(([name]) => stored.has(name) || !name.startsWith(`${inner}.post_layernorm.`)),
  );
  return {
    shapes,
    ignored: {
      [`${inner}.embeddings.position_ids`]: 'a buffer that older versions stored',
      ...(config.tower === 'siglip'
        ? { [`${inner}.head`]: 'connectors read maps, not what the head makes of them' }
        : {}),
    },
    layout: `transformers, names of version ${names === 'old' ? 4 : 5}`,
  };
}

/** What the released LLaVA-1.5 was trained with, where the directory has no template of its own. */
const vicuna: ChatTemplate = (question) => {
  const control = (text: string): PromptPart => ({ kind: 'control', text });
  const parts = messagesOf(question).flatMap(({ role, content }): readonly PromptPart[] => [
    ...(role === 'system' ? [] : [control(`${role.toUpperCase()}: `)]),
    ...content.flatMap((part): readonly PromptPart[] =>
      part.type === 'image' ? [{ kind: 'image' }, control('\n')] : [{ kind: 'user', text: part.text }],
    ),
    control(' '),
  ]);
  return Promise.resolve([...parts, control('ASSISTANT:')]);
};

interface LlavaParts {
  readonly source: Source;
  readonly tokenizer: SandboxTokenizer;
  readonly template: ChatTemplate;
  readonly processor: ImageProcessor;
}

export class LlavaFamily implements Family {
  readonly config: LlavaConfig;
  readonly #parts: LlavaParts;

  constructor(config: LlavaConfig, parts: LlavaParts) {
    this.config = config;
    this.#parts = parts;
  }

  get language(): LlavaConfig['language'] {
    return this.config.language;
  }

  vision = (sizes: AnswerSizes) => llavaVisionGraph(this.#parts.source, this.config, this.#sizes(sizes));
  prefill = (sizes: AnswerSizes) => llavaAnswerPrefillGraph(this.#parts.source, this.config, this.#sizes(sizes));
  decode = (sizes: AnswerSizes) => llavaAnswerDecodeGraph(this.#parts.source, this.config, this.#sizes(sizes));

  get decodeParts(): DecodeParts {
    return llavaDecodeParts(this.#parts.source);
  }

  #sizes(sizes: AnswerSizes): AnswerSizes & { readonly viewLimit: number } {
    return { ...sizes, viewLimit: mostViews(this.config, sizes) };
  }

  /** Throws `OpabiniaError` for `<image>` in a text, a template that loses an image, and a picture of extreme aspect ratio. */
  layOut = async (questions: readonly Question[]): Promise<LaidOut> => {
    const views: View[] = [];
    const prompts: LlavaPrompt[] = [];
    for (const question of questions) {
      const { images: shown = [] } = question;
      const images = shown.map((image) => this.#see(image, views, shown.length === 1));
      prompts.push({ ids: await this.#ids(question), images });
    }
    // Whether there is room for the pictures is the session's to say.
    const { length, ids, slots, between, last } = layOutPrompts(prompts, this.config, { viewLimit: Infinity });
    return {
      width: length,
      lengths: last.map((at) => at + 1),
      ids: prompts.map((prompt) => Array.from(prompt.ids).filter((id) => id !== this.config.imageToken)),
      pictures: questions.flatMap((question) => question.images ?? []).length,
      views,
      rows: {
        ids: { values: ids, otherwise: 0 },
        slots: { values: slots, otherwise: -1 },
        ...(this.config.limit === undefined
          ? {}
          : Object.fromEntries(betweenNames.map((name) => [name, { values: between[name], otherwise: 0 }]))),
      },
      inputs: {},
      symbols: {},
    };
  };

  /** Adds the views of a picture to all; gives what stands for it in the prompt. `alone`: the prompt shows no other. */
  #see(image: Image, views: View[], alone: boolean): readonly Place[] {
    const {
      type,
      canvases,
      limit,
      vision: { image: tile, patch },
    } = this.config;
    const first = views.length;
    const { processor } = this.#parts;
    const put = (pictures: number, picture: (k: number) => Image, by = processor): void => {
      for (let k = 0; k < pictures; k++)
        views.push({
          symbols: { view: first + k },
          inputs: () => ({ pixels: processPicture(picture(k), by).pixels }),
        });
    };
    if (type === 'llava') {
      put(1, () => image);
      return viewSlots(this.config, first);
    }
    if (type === 'llava_onevision' && !alone) {
      put(1, () => image, { ...processor, square: true });
      return [...viewSlots(this.config, first), newlineSlot];
    }
    const layout = anyresLayout(image, { canvases, tile, side: Math.floor(tile / patch), limit });
    // `checkProcessor` has seen to it.
    const filter = processor.filter === 'nearest' ? undefined : processor.filter;
    let tiles: readonly Image[] | undefined;
    put(layout.views, (k) => {
      tiles ??= anyresTiles(image, canvases, tile, filter).tiles;
      const found = tiles[k];
      if (found === undefined) throw new RangeError(`a picture of ${layout.views} views has no view ${k}`);
      return found;
    });
    return anyresPlaces(layout, first);
  }

  async #ids(question: Question): Promise<readonly number[]> {
    checkUserText(question.text);
    if (question.system !== undefined) checkUserText(question.system, 'the system prompt');
    const { tokenizer, template } = this.#parts;
    // An image is a token of the tokenizer's own, so that the text around it is split as in training; a user's words cannot become one.
    const parts = await template(question);
    if (tokenizer.idOf(imageText) === undefined) return this.#around(parts);
    return templatedIds(
      tokenizer,
      parts.map((part) => (part.kind === 'image' ? { kind: 'control' as const, text: imageText } : part)),
    );
  }

  /** Without such a token the texts between pictures are split each by itself, as llama.cpp does. */
  async #around(parts: readonly PromptPart[]): Promise<readonly number[]> {
    const texts: Exclude<PromptPart, { kind: 'image' }>[][] = [[]];
    for (const part of parts) {
      if (part.kind === 'image') texts.push([]);
      else texts.at(-1)?.push(part);
    }
    const { tokenizer } = this.#parts;
    const ids: number[] = [];
    for (const [i, text] of texts.entries()) {
      if (i > 0) ids.push(this.config.imageToken);
      // Whatever begins a text stands before the first, and there even where that is empty.
      if (i === 0) ids.push(...(await templatedIds(tokenizer, text)));
      else if (text.length > 0) ids.push(...(await tokenizer.encode(text, { automatic: false })));
    }
    return ids;
  }
}
