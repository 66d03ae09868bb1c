// Qwen2.5-VL and Qwen3-VL answer: the directory's chat template, pictures of any size as patches, a graph for each grid of them.
import { OpabiniaError } from '../../../dsl/index.ts';
import { isBelow, type Shapes } from '../../../models/configs/param-shapes.ts';
import { ropePositions } from '../../../models/multimodal/picture-prompts.ts';
import {
  gridTokens,
  qwenDecodeParts,
  qwenDecodeGraph,
  qwenPrefillGraph,
  qwenVisionGraph,
  qwenVlShapes,
} from '../../../models/multimodal/qwen-vl-answer.ts';
import { mergedGrids, type QwenVl } from '../../../models/multimodal/qwen-vl-model.ts';
import type { FrameGrid } from '../../../models/towers/patch-sequence.ts';
import type { DecodeParts } from '../../../models/decoders/row-graphs.ts';
import { needFile, readJsonFile } from '../../../runtime/checkpoint/hub.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import type { Filter, Image } from '../../../runtime/image/image.ts';
import {
  patchGrid,
  pictureAsPatches,
  readPatchRules,
  smoothFilter,
  type PatchRules,
} from '../../../runtime/image/patch-picture.ts';
import { readProcessor, type ImageProcessor } from '../../../runtime/image/preprocess.ts';
import type { SandboxTokenizer } from '../../../runtime/text/open-tokenizer.ts';
import type { AnswerSizes, Family, FamilyPlan, LaidOut, Opening, Question, View } from '../family.ts';
import { neededTemplate, type ChatTemplate, templatedIds } from '../templates.ts';
import { describeLanguage } from './language.ts';
import { plural } from '../../../dsl/text/plural.ts';

const mark = '<|image_pad|>';

/** Throws `OpabiniaError` for a processor whose patches are not those of the tower, and for a directory without a chat template. */
export function planQwenVl(model: QwenVl, { files, directory }: Opening): FamilyPlan {
  const path = needFile(files.preprocessorConfig, 'preprocessor_config.json', files);
  const json = readJsonFile(path);
  const own: unknown =
    typeof json === 'object' && json !== null && 'image_processor' in json ? json.image_processor : json;
  const rules = readPatchRules(own, path);
  const { vision } = model;
  const [, frames, patch] = vision.patch;
  if (rules.patch !== patch || rules.merge !== vision.merge || rules.frames !== frames)
    throw new OpabiniaError(
      `${path} makes patches of ${rules.patch} pixels and ${rules.frames} frames, ${rules.merge} × ${rules.merge} of them a token, and the tower reads ${patch}, ${frames} and ${vision.merge} × ${vision.merge}`,
      { op: 'openModel', advice: 'take both files from one revision of one model' },
    );
  const template = neededTemplate(files, mark);
  // Its sizes are counts of pixels, which `readPatchRules` has read.
  const read = readProcessor({ ...(own as object), size: undefined }, path);
  const processor = { ...read, filter: smoothFilter(read, path) };
  return {
    language: model.language,
    upright: true, // transformers' `load_image`
    towers: [],
    title: vision.kind === 'qwen3' ? 'a Qwen3-VL' : 'a Qwen2.5-VL',
    parts: [
      {
        name: 'tower',
        what: `${plural(vision.layers, 'layer')} of ${vision.width}, patches of ${patch} × ${patch}, ${vision.merge ** 2} of them a token`,
        isTower: true,
        owns: (name) => isBelow(name, 'visual') || isBelow(name, 'model.visual'),
      },
      { name: 'language model', what: describeLanguage(model.language), owns: () => true },
    ],
    wanted: (stored: Shapes) => ({
      shapes: qwenVlShapes(model, stored),
      layout: `transformers, names of version ${stored.has('model.visual.patch_embed.proj.weight') ? 5 : 4}`,
    }),
    checkTokenizer: (tokenizer) => {
      const found = tokenizer.idOf(mark);
      if (found !== model.imageToken)
        throw new OpabiniaError(
          `the tokenizer of ${directory} ${found === undefined ? `has no token ${mark}` : `has ${mark} as ${found}`}, and the config says ${model.imageToken}`,
          { op: 'openModel', advice: 'take tokenizer.json and config.json from one revision of one model' },
        );
    },
    family: (source, tokenizer) => new QwenVlFamily(model, { rules, processor, template }, source, tokenizer),
  };
}

interface Manner {
  readonly rules: PatchRules;
  readonly processor: ImageProcessor & { readonly filter: Filter };
  readonly template: ChatTemplate;
}

export class QwenVlFamily implements Family {
  readonly model: QwenVl;
  /** Each grid of patches has a graph of its own: `View.graph`. */
  readonly vision = undefined;
  readonly seesByView = true;
  readonly #manner: Manner;
  readonly #source: Source;
  readonly #tokenizer: SandboxTokenizer;

  constructor(model: QwenVl, manner: Manner, source: Source, tokenizer: SandboxTokenizer) {
    this.model = model;
    this.#manner = manner;
    this.#source = source;
    this.#tokenizer = tokenizer;
  }

  get language(): QwenVl['language'] {
    return this.model.language;
  }

  prefill = (sizes: AnswerSizes) => qwenPrefillGraph(this.#source, this.model, sizes);
  decode = (sizes: AnswerSizes) => qwenDecodeGraph(this.#source, this.model, sizes);

  get decodeParts(): DecodeParts {
    return qwenDecodeParts;
  }

  /** Throws `OpabiniaError` for a template that loses an image, and for a picture over 200 times as long as wide. */
  layOut = async (questions: readonly Question[]): Promise<LaidOut> => {
    const { imageToken } = this.model;
    const views: View[] = [];
    const prompts: { readonly ids: readonly number[]; readonly first: number; readonly grids: readonly FrameGrid[] }[] =
      [];
    let row = 0;
    for (const question of questions) {
      const first = row;
      const grids: FrameGrid[] = [];
      for (const image of question.images ?? []) {
        const grid: FrameGrid = [1, ...patchGrid(image, this.#manner.rules)];
        views.push(this.#view(image, grid, row));
        grids.push(grid);
        row += gridTokens(grid, this.model);
      }
      prompts.push({ ids: await this.#ids(question, grids), first, grids });
    }
    const width = Math.max(0, ...prompts.map(({ ids }) => ids.length));
    const rows = (otherwise: number): Int32Array => new Int32Array(prompts.length * width).fill(otherwise);
    const [ids, slots, places] = [rows(0), rows(-1), [rows(0), rows(0), rows(0)]];
    prompts.forEach((prompt, b) => {
      let next = prompt.first;
      ids.set(prompt.ids, b * width);
      slots.set(
        prompt.ids.map((id) => (id === imageToken ? next++ : -1)),
        b * width,
      );
      const { positions } = ropePositions(prompt.ids, imageToken, mergedGrids(prompt.grids, this.model));
      const count = prompt.ids.length;
      places.forEach((values, axis) => values.set(positions.subarray(axis * count, (axis + 1) * count), b * width));
    });
    const [time = rows(0), down = rows(0), across = rows(0)] = places;
    return {
      width,
      lengths: Int32Array.from(prompts, (prompt) => prompt.ids.length),
      ids: prompts.map((prompt) => prompt.ids.filter((id) => id !== imageToken)),
      pictures: views.length,
      views,
      rows: {
        ids: { values: ids, otherwise: 0 },
        slots: { values: slots, otherwise: -1 },
        place_time: { values: time, otherwise: 0 },
        place_row: { values: down, otherwise: 0 },
        place_column: { values: across, otherwise: 0 },
      },
      inputs: {},
      symbols: {},
    };
  };

  #view(image: Image, grid: FrameGrid, first: number): View {
    const { rules, processor } = this.#manner;
    const [, down, across] = grid;
    return {
      symbols: { first },
      inputs: () => ({ patches: pictureAsPatches(image, [down, across], rules, processor) }),
      graph: {
        key: `${down} × ${across} patches`,
        make: (sizes) => qwenVisionGraph(this.#source, this.model, grid, sizes),
      },
    };
  }

  async #ids(question: Question, grids: readonly FrameGrid[]): Promise<readonly number[]> {
    let next = 0;
    // Written into the text around it, which is split as in training; a user's words cannot become control tokens.
    const parts = (await this.#manner.template(question)).map((part) => {
      if (part.kind !== 'image') return part;
      const grid = grids[next++] ?? [0, 0, 0];
      return { kind: 'control' as const, text: mark.repeat(gridTokens(grid, this.model)) };
    });
    return templatedIds(this.#tokenizer, parts);
  }
}
