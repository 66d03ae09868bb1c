// Cambrian-1 answers: its own conversation templates, pictures through all towers and SVA, image blocks that SVA layers find again.
import {
  cambrianPrefillGraph,
  towerRoot,
  towerSide,
  visionGraph,
  type CambrianModel,
} from '../../../models/multimodal/cambrian-model.ts';
import { cambrianShapes, type CambrianConfig } from '../../../models/configs/cambrian.ts';
import { readTower } from '../../../models/configs/read.ts';
import { towerPixels, type TowerConfig } from '../../../models/configs/towers.ts';
import {
  imagePlaceholder,
  layOutForInference,
  queryPlaces,
  type InferenceSample,
} from '../../../models/sequence/collate.ts';
import { batchMasks, maskGrids } from '../../../models/sequence/masks.ts';
import { checkImagePosition, templateFor, type TemplateName } from '../../../models/sequence/conversation.ts';
import { decodeGraph } from '../../../models/decoders/generation-graphs.ts';
import { modelFiles, needFile, readJsonFile, resolveTower } from '../../../runtime/checkpoint/hub.ts';
import type { Image } from '../../../runtime/image/image.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { checkAspectRatio, towerPicture } from '../../../runtime/image/preprocess.ts';
import type { Inputs } from '../../../runtime/program/program.ts';
import type { SandboxTokenizer } from '../../../runtime/text/open-tokenizer.ts';
import { describeTower, matchTower } from './tower-match.ts';
import type {
  AnswerSizes,
  DescribedPart,
  Family,
  FamilyPlan,
  LaidOut,
  Opening,
  PromptOptions,
  Question,
} from '../family.ts';
import { partsOf } from '../../plan/cambrian-parts.ts';
import { describeLanguage } from './language.ts';
import { beginToken, templateIds } from '../templates.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Throws `OpabiniaError` for a tower that is not there, or whose config is none. */
export function planCambrian(config: CambrianConfig, { directory, json, towers: given }: Opening): FamilyPlan {
  const towers = config.towers.map((named, k) => {
    const files = modelFiles(resolveTower(directory, named.name, named.repos, given?.[k]));
    const path = needFile(files.config ?? files.openClipConfig, 'config.json', files);
    return {
      files,
      path,
      config: readTower(readJsonFile(path), path),
      weights: needFile(files.weights, 'model.safetensors', files),
    };
  });
  const configs: readonly TowerConfig[] = towers.map((tower) => tower.config);
  return {
    language: config.language,
    upright: false, // Cambrian's `Image.open(…).convert('RGB')` knows no EXIF
    towers: towers.map((tower, k) => ({
      root: towerRoot(k),
      files: tower.files,
      config: tower.path,
      weights: tower.weights,
      match: (stored) => matchTower(tower.config, stored),
    })),
    title: 'a Cambrian',
    parts: cambrianParts({ config, towers: configs }),
    unread: { 'preprocessor_config.json': 'pictures are made as Cambrian’s own code makes them' },
    wanted: () => ({ shapes: cambrianShapes(config, configs), layout: "Cambrian's own repository" }),
    family: (source, tokenizer) => new CambrianFamily({ config, towers: configs }, source, tokenizer, beginToken(json)),
  };
}

function cambrianParts(model: CambrianModel): readonly DescribedPart[] {
  const { connector, language, schedule } = model.config;
  const grid = (side: number): string => `${side} × ${side}`;
  const towers = model.towers.map(
    (tower, k) => `${describeTower(tower, towerSide(model, k))}, map of ${grid(model.config.towers[k]?.side ?? 0)}`,
  );
  const inside =
    schedule === undefined
      ? 'none'
      : `${schedule.count} SVA layers, the first after layer ${schedule.start}, then every ${schedule.stride}`;
  const sva = `SVA: ${plural(connector.depth, 'layer')} of ${connector.width}, queries of ${connector.groups.map(grid).join(' and ')}, ${plural(connector.side ** 2, 'token')} a picture`;
  const words = [...towers, sva, inside, describeLanguage(language)];
  return partsOf(model).map((part, i) => ({ ...part, what: words[i] ?? '' }));
}

export class CambrianFamily implements Family {
  readonly model: CambrianModel;
  readonly template: TemplateName;
  readonly #source: Source;
  readonly #tokenizer: SandboxTokenizer;
  readonly #begin: number | undefined;

  constructor(model: CambrianModel, source: Source, tokenizer: SandboxTokenizer, begin: number | undefined) {
    this.model = model;
    this.template = templateFor((token) => tokenizer.idOf(token) !== undefined);
    this.#source = source;
    this.#tokenizer = tokenizer;
    this.#begin = begin;
  }

  get language(): CambrianConfig['language'] {
    return this.model.config.language;
  }

  vision = (sizes: AnswerSizes) => visionGraph(this.#source, this.model, sizes);
  prefill = (sizes: AnswerSizes) => cambrianPrefillGraph(this.#source, this.model, sizes);
  decode = (sizes: AnswerSizes) => decodeGraph(this.#source, this.language, sizes);
  readonly decodeParts = {};

  /** Throws `OpabiniaError` for a prompt without an image, an image that does not stand where the config says, and one of extreme aspect ratio. */
  layOut = async (questions: readonly Question[], options: PromptOptions): Promise<LaidOut> => {
    const {
      connector: { side },
      schedule,
    } = this.model.config;
    const pictures: Image[] = [];
    const position = this.#position(questions, options);
    const samples: InferenceSample[] = [];
    for (const question of questions) {
      const own = question.images ?? [];
      own.forEach((image, i) => checkAspectRatio(image, side, `image ${i + 1}`));
      const ids = await templateIds(this.template, this.#tokenizer, this.#begin, question);
      checkImagePosition(ids, position);
      const first = pictures.length;
      pictures.push(...own);
      samples.push({ ids, images: own.map((_, i) => first + i) });
    }
    const batch = layOutForInference(samples, pictures, { side });
    // A picture that no slot shows stands for none at all.
    const images = Math.max(1, pictures.length);
    const places = schedule === undefined ? undefined : queryPlaces(batch, images, side, position);
    return {
      width: batch.length,
      pictures: pictures.length,
      lengths: Int32Array.from(samples, (_, row) =>
        batch.attend.subarray(row * batch.length, (row + 1) * batch.length).reduce((sum, there) => sum + there, 0),
      ),
      ids: samples.map((sample) => Array.from(sample.ids).filter((id) => id !== imagePlaceholder)),
      views: pictures.map((picture, image) => ({
        symbols: { image },
        inputs: () => pictureInputs(this.model, picture),
      })),
      rows: {
        ids: { values: batch.ids, otherwise: 0 },
        slots: { values: batch.slots, otherwise: -1 },
        ...(places === undefined ? {} : { query_slot: { values: places.slot, otherwise: -1 } }),
      },
      inputs: places === undefined ? {} : { query_place: places.place },
      symbols: { images },
    };
  };

  #position(questions: readonly Question[], options: PromptOptions): number | undefined {
    const plain = questions.every(
      (question) =>
        question.system === undefined && question.history === undefined && (question.images?.length ?? 0) <= 1,
    );
    return (options.position ?? (plain ? 'reference' : 'true')) === 'reference'
      ? this.model.config.imagePosition
      : undefined;
  }
}

/** What the towers read of a picture: inputs `pixels_{k}`. */
export function towerInputs(model: CambrianModel, image: Image): Readonly<Record<string, Float32Array>> {
  return Object.fromEntries(
    model.towers.map((tower, k) => [
      `pixels_${k}`,
      towerPicture(image, { ...towerPixels[tower.tower], side: towerSide(model, k) }),
    ]),
  );
}

/** The inputs of the graph of one picture. */
function pictureInputs(model: CambrianModel, image: Image): Inputs {
  const { config } = model;
  const sides = config.towers.map((tower) => tower.side);
  return Object.fromEntries([
    ...Object.entries(towerInputs(model, image)),
    ...maskGrids(model.config).flatMap((queries) =>
      batchMasks([image], queries, { sides, finalSide: config.connector.side }).map(
        (mask, k) => [`mask_${queries}_${k}`, mask.attend] as const,
      ),
    ),
  ]);
}
