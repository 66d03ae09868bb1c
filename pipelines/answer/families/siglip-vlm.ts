// SmolVLM, Gemma 3 and InternVL answer: the directory's chat template, each picture as the text that its own processor puts there.
import { OpabiniaError } from '../../../dsl/index.ts';
import {
  sightedDecodeGraph,
  sightedPrefillGraph,
  sightedVisionGraph,
  type SightedSizes,
} from '../../../models/multimodal/siglip-answer.ts';
import { sightedGemma3, sightedSmolVlm, type SightedModel } from '../../../models/multimodal/sighted-model.ts';
import { pictureBlocks } from '../../../models/multimodal/picture-prompts.ts';
import type { InternVl } from '../../../models/multimodal/internvl.ts';
import type { Gemma3Vl, SmolVlm } from '../../../models/multimodal/siglip-vlm.ts';
import type { DecodeParts } from '../../../models/decoders/row-graphs.ts';
import { needFile, readJsonFile } from '../../../runtime/checkpoint/hub.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import type { Image } from '../../../runtime/image/image.ts';
import {
  processedSize,
  processPicture,
  readProcessor,
  type ImageProcessor,
} from '../../../runtime/image/preprocess.ts';
import { cropImage, cropsOf, readPanAndScan } from '../../../runtime/image/pan-and-scan.ts';
import { smoothFilter } from '../../../runtime/image/patch-picture.ts';
import { readSplit, splitPicture } from '../../../runtime/image/split-picture.ts';
import { readTileRules, tilePicture } from '../../../runtime/image/tile-picture.ts';
import type { SandboxTokenizer } from '../../../runtime/text/open-tokenizer.ts';
import type { AnswerSizes, Family, FamilyPlan, LaidOut, Opening, Question, View } from '../family.ts';
import { neededTemplate, type ChatTemplate, templatedIds } from '../templates.ts';
import { describeLanguage } from './language.ts';
import { describeTower } from './tower-match.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** A picture in the prompt: what is written for it, and its views. */
interface Shown {
  readonly text: string;
  readonly views: number;
  readonly images: () => readonly Image[];
}

/** What differs between families besides the graphs. */
interface Manner {
  readonly title: string;
  readonly tower: string;
  /** What the chat template writes for a picture, and the token of one of its tokens. */
  readonly mark: string;
  readonly token: string;
  readonly show: (image: Image) => Shown;
  /** Views that one picture can have. */
  readonly mostViews: number;
  readonly processor: ImageProcessor;
}

/** Around a picture that is shown in pieces as well, in the words of Gemma 3's processor. */
const introduced = 'Here is the original image ';
const followed = ' and here are some crops to help you see better ';

/** Throws `OpabiniaError` for a processor that makes other pictures than the tower reads, and for a directory without a chat template. */
export function planGemma3(config: Gemma3Vl, opening: Opening): FamilyPlan {
  const model = sightedGemma3(config);
  const { processor, path, json } = processorOf(opening, siglipPictures(2));
  const pieces = readPanAndScan(json, path);
  checkSide(processor, model, path);
  const token = '<image_soft_token>';
  const text = `\n\n<start_of_image>${token.repeat(model.tokens)}<end_of_image>\n\n`;
  return planOf(model, opening, {
    title: 'a Gemma 3 with pictures',
    tower: describeTower({ tower: 'siglip', config: config.vision }),
    mark: '<start_of_image>',
    token,
    processor,
    mostViews: 1 + (pieces?.mostCrops ?? 0),
    show: (image) => {
      const crops = pieces === undefined ? [] : cropsOf(image, pieces);
      return {
        text: crops.length === 0 ? text : `${introduced}${text}${followed}${crops.map(() => text).join(' ')}`,
        views: 1 + crops.length,
        images: () => [image, ...crops.map((crop) => cropImage(image, crop))],
      };
    },
  });
}

/** Throws `OpabiniaError` as `planGemma3`. */
export function planSmolVlm(config: SmolVlm, opening: Opening): FamilyPlan {
  const model = sightedSmolVlm(config);
  const { processor, path, json } = processorOf(opening, siglipPictures(1));
  const rules = readSplit(json, path, smoothFilter(processor, path));
  if (rules.tile !== model.side)
    throw new OpabiniaError(`${path} cuts tiles of ${rules.tile}, and the tower reads ${model.side} × ${model.side}`, {
      op: 'openModel',
      advice: 'take both files from one revision of one model',
    });
  const [token, fake] = ['<image>', '<fake_token_around_image>'];
  const tokens = token.repeat(model.tokens);
  const most = Math.ceil(rules.longest / rules.tile);
  return planOf(model, opening, {
    title: 'a SmolVLM',
    tower: describeTower({ tower: 'siglip', config: config.vision }),
    mark: token,
    token,
    // Tiles have their size already.
    processor: { ...processor, resize: undefined, crop: undefined },
    mostViews: rules.split ? most * most + 1 : 1,
    show: (image) => {
      const { views, rows, columns, images } = splitPicture(image, rules);
      const lines = Array.from({ length: rows }, (_, r) =>
        Array.from({ length: columns }, (__, c) => `${fake}<row_${r + 1}_col_${c + 1}>${tokens}`).join(''),
      );
      const tiles = lines.length === 0 ? '' : `${lines.join('\n')}\n\n`;
      return { text: `${tiles}${fake}<global-img>${tokens}${fake}`, views, images };
    },
  });
}

/** Throws `OpabiniaError` as `planGemma3`. */
export function planInternVl(model: InternVl, opening: Opening): FamilyPlan {
  // Its processor cuts pictures whatever the file says of `crop_to_patches`.
  const { processor, path, json } = processorOf(
    opening,
    { image_processor_type: 'GotOcr2ImageProcessor' },
    { crop_to_patches: undefined },
  );
  checkSide(processor, model, path);
  const rules = { ...readTileRules(json, path), tile: model.side, filter: smoothFilter(processor, path) };
  const token = '<IMG_CONTEXT>';
  return planOf(model, opening, {
    title: 'an InternVL',
    tower: model.tower,
    mark: token,
    token,
    // Tiles have their size already.
    processor: { ...processor, resize: undefined, crop: undefined },
    mostViews: rules.most === 1 ? 1 : rules.most + 1,
    show: (image) => {
      const { views, images } = tilePicture(image, rules);
      return { text: `<img>${token.repeat(model.tokens * views)}</img>`, views, images };
    },
  });
}

function checkSide(processor: ImageProcessor, { side }: SightedModel, path: string): void {
  const size = processedSize(processor);
  if (size?.height === side && size.width === side) return;
  throw new OpabiniaError(
    `${path} makes pictures of ${size === undefined ? 'no fixed size' : `${size.height} × ${size.width}`}, and the tower reads ${side} × ${side}`,
    { op: 'openModel', advice: 'take both files from one revision of one model' },
  );
}

/** What SigLIP's processors leave out; `resample`: the code of Pillow that the class has. */
function siglipPictures(resample: number): object {
  const half = [0.5, 0.5, 0.5];
  return { resample, image_mean: half, image_std: half, do_center_crop: false };
}

/** `otherwise` where the file has nothing, `instead` whatever it has. */
function processorOf(
  { files }: Opening,
  otherwise: object,
  instead: object = {},
): { readonly processor: ImageProcessor; readonly path: string; readonly json: unknown } {
  const path = needFile(files.preprocessorConfig, 'preprocessor_config.json', files);
  const json = readJsonFile(path);
  const own: unknown =
    typeof json === 'object' && json !== null && 'image_processor' in json ? json.image_processor : json;
  if (typeof own !== 'object' || own === null)
    throw new OpabiniaError(`${path} is not a JSON object`, { op: 'preprocess', advice: 'the file is damaged' });
  const stated = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== null));
  // The longest edge of SmolVLM is read by `readSplit`.
  const size = 'size' in stated && JSON.stringify(stated['size']).includes('longest_edge') ? { size: undefined } : {};
  return { processor: readProcessor({ ...otherwise, ...stated, ...size, ...instead }, path), path, json: stated };
}

function planOf(model: SightedModel, { files, directory }: Opening, manner: Manner): FamilyPlan {
  const template = neededTemplate(files, manner.mark);
  return {
    language: model.language,
    upright: true, // transformers' `load_image`
    towers: [],
    title: manner.title,
    parts: [
      {
        name: 'tower',
        what: manner.tower,
        isTower: true,
        owns: (path) => /(?:^|\.)vision_(?:tower|model)\./.test(path),
      },
      {
        name: 'connector',
        what: `${plural(model.tokens, 'token')} a ${manner.mostViews === 1 ? 'picture' : 'tile'}`,
        owns: (path) => /(?:^|\.)(?:connector|multi_modal_projector)\./.test(path),
      },
      { name: 'language model', what: describeLanguage(model.language), owns: () => true },
    ],
    wanted: (stored) => ({
      shapes: model.shapes(stored),
      ignored: Object.fromEntries(
        [...stored.keys()]
          .filter((name) =>
            /vision_(?:tower|model)\.(?:vision_model\.)?(?:head\.|embeddings\.(?:position_ids|mask_token)$)/.test(name),
          )
          .map((name) => [name, 'the tower’s own pooling is not read']),
      ),
      layout: 'transformers',
    }),
    checkTokenizer: (tokenizer) => checkImageToken(tokenizer, manner.token, model.imageToken, directory),
    family: (source, tokenizer) => new SightedFamily(model, manner, template, source, tokenizer),
  };
}

function checkImageToken(tokenizer: SandboxTokenizer, token: string, wanted: number, directory: string): void {
  const found = tokenizer.idOf(token);
  if (found === wanted) return;
  throw new OpabiniaError(
    `the tokenizer of ${directory} ${found === undefined ? `has no token ${token}` : `has ${token} as ${found}`}, and the config says ${wanted}`,
    { op: 'openModel', advice: 'take tokenizer.json and config.json from one revision of one model' },
  );
}

export class SightedFamily implements Family {
  readonly model: SightedModel;
  readonly #manner: Manner;
  readonly #template: ChatTemplate;
  readonly #source: Source;
  readonly #tokenizer: SandboxTokenizer;

  constructor(
    model: SightedModel,
    manner: Manner,
    template: ChatTemplate,
    source: Source,
    tokenizer: SandboxTokenizer,
  ) {
    this.model = model;
    this.#manner = manner;
    this.#template = template;
    this.#source = source;
    this.#tokenizer = tokenizer;
  }

  get language(): SightedModel['language'] {
    return this.model.language;
  }

  vision = (sizes: AnswerSizes) => sightedVisionGraph(this.#source, this.model, this.#sizes(sizes));
  prefill = (sizes: AnswerSizes) => sightedPrefillGraph(this.#source, this.model, this.#sizes(sizes));
  decode = (sizes: AnswerSizes) => sightedDecodeGraph(this.#source, this.model, this.#sizes(sizes));

  get decodeParts(): DecodeParts {
    return { root: this.model.languageParams };
  }

  #sizes(sizes: AnswerSizes): SightedSizes {
    return { ...sizes, viewLimit: sizes.imageLimit * this.#manner.mostViews };
  }

  /** Throws `OpabiniaError` for a template that loses an image. */
  layOut = async (questions: readonly Question[]): Promise<LaidOut> => {
    const { imageToken, tokens, wholePictures } = this.model;
    const views: View[] = [];
    const prompts: { readonly ids: readonly number[]; readonly first: number }[] = [];
    for (const question of questions) {
      const first = views.length;
      const shown = (question.images ?? []).map((image) => this.#manner.show(image));
      for (const { views: count, images } of shown) this.#add(views, count, images);
      prompts.push({ ids: await this.#ids(question, shown), first });
    }
    const width = Math.max(0, ...prompts.map(({ ids }) => ids.length));
    const rows = (otherwise: number): Int32Array => new Int32Array(prompts.length * width).fill(otherwise);
    const [ids, slots, block] = [rows(0), rows(-1), rows(-1)];
    prompts.forEach((prompt, row) => {
      let next = prompt.first * tokens;
      const own = prompt.ids.map((id) => (id === imageToken ? next++ : -1));
      ids.set(prompt.ids, row * width);
      slots.set(own, row * width);
      block.set(pictureBlocks(prompt.ids, imageToken), row * width);
    });
    return {
      width,
      lengths: Int32Array.from(prompts, (prompt) => prompt.ids.length),
      ids: prompts.map((prompt) => prompt.ids.filter((id) => id !== imageToken)),
      pictures: questions.flatMap((question) => question.images ?? []).length,
      views,
      rows: {
        ids: { values: ids, otherwise: 0 },
        slots: { values: slots, otherwise: -1 },
        ...(wholePictures ? { block: { values: block, otherwise: -1 } } : {}),
      },
      inputs: {},
      symbols: {},
    };
  };

  #add(views: View[], count: number, images: () => readonly Image[]): void {
    const first = views.length;
    let made: readonly Image[] | undefined;
    for (let k = 0; k < count; k++)
      views.push({
        symbols: { view: first + k },
        inputs: () => {
          made ??= images();
          const image = made[k];
          if (image === undefined) throw new RangeError(`a picture of ${count} views has no view ${k}`);
          return { pixels: processPicture(image, this.#manner.processor).pixels };
        },
      });
  }

  async #ids(question: Question, shown: readonly Shown[]): Promise<readonly number[]> {
    let next = 0;
    // Written into the text around it, which is split as in training; a user's words cannot become control tokens.
    const parts = (await this.#template(question)).map((part) =>
      part.kind === 'image' ? { kind: 'control' as const, text: shown[next++]?.text ?? '' } : part,
    );
    return templatedIds(this.#tokenizer, parts);
  }
}
