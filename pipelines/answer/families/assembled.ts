// A model that `opabinia assemble` put together answers: one of the conversation templates written here, pictures through all towers and
// the connector, their tokens in place of each picture.
import { randomParams, roleOf, trace } from '../../../dsl/index.ts';
import { OpabiniaError } from '../../../dsl/index.ts';
import { order } from '../../../dsl/graph/walk.ts';
import { nameOf } from '../../../dsl/ops/source.ts';
import type { AssembledConfig } from '../../../models/configs/assembled.ts';
import { isBelow, shapedParams, type Shapes } from '../../../models/configs/param-shapes.ts';
import { describeLayout } from '../../../models/connectors/visual-tokens.ts';
import { decodeGraph } from '../../../models/decoders/generation-graphs.ts';
import {
  assembledPrefillGraph,
  assembledShapes,
  assembledTowerRoot,
  assembledVisionGraph,
  connectorFacts,
  connectorRoot,
  pictureTokenCount,
  type AssembledModel,
} from '../../../models/multimodal/assembled-model.ts';
import { layOutForInference, imagePlaceholder } from '../../../models/sequence/collate.ts';
import { templateFor, type TemplateName } from '../../../models/sequence/conversation.ts';
import { mapShapeOf, readAnyTower, type AnyTower } from '../../../models/towers/any-tower.ts';
import { modelFiles, needFile, readJsonFile, resolveTower, type ModelFiles } from '../../../runtime/checkpoint/hub.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { matchTensors, type Match } from '../../../runtime/checkpoint/match.ts';
import type { Image } from '../../../runtime/image/image.ts';
import { processedSize, processPicture, readProcessor, towerPicture } from '../../../runtime/image/preprocess.ts';
import type { SandboxTokenizer } from '../../../runtime/text/open-tokenizer.ts';
import { connectorNamed, connectStored, hashOf } from '../../assemble/connector-config.ts';
import type { AnswerSizes, Family, FamilyPlan, LaidOut, Opening, Question } from '../family.ts';
import { beginToken, templateIds } from '../templates.ts';
import { describeLanguage } from './language.ts';
import { plural } from '../../../dsl/text/plural.ts';
import { describeTower, matchTower, storedBuffers } from './tower-match.ts';

/** How a tower's pictures are made: square, of this side. */
export type MakePixels = (image: Image) => Float32Array;

/** Throws `OpabiniaError` for a tower that is not there, a connector that does not fit the maps, and pictures of unknown making. */
export async function planAssembled(
  config: AssembledConfig,
  { directory, files, json, towers: given, connectors }: Opening,
): Promise<FamilyPlan> {
  const where = files.config ?? directory;
  const towers = config.towers.map(({ folder, pixels: side }, k) => {
    const own = modelFiles(resolveTower(directory, folder, [], given?.[k]));
    const path = needFile(own.config ?? own.openClipConfig, 'config.json', own);
    const tower = readAnyTower(readJsonFile(path), path);
    return {
      tower,
      side,
      map: mapShapeOf(tower, side),
      files: own,
      path,
      weights: needFile(own.weights, 'model.safetensors', own),
      make: pixelMaker(own, tower, side),
    };
  });
  const { own } = config.connector;
  const from = await connectorNamed(config.connector.name, where, connectors, own);
  const model: AssembledModel = {
    language: config.language,
    towers,
    connector: connectStored(from, config.connector.config, where),
  };
  const facts = connectorFacts(model);
  const { layout } = facts;
  if (own !== undefined && hashOf(facts) !== own.hash)
    throw new OpabiniaError(`your connector '${from.name}' computes something else than when ${where} was assembled`, {
      op: 'openModel',
      advice: `give ${own.file} as it was then, or assemble the model anew with what it is now`,
    });
  return {
    language: config.language,
    upright: true,
    towers: towers.map(({ files: own, path, weights, tower }, k) => ({
      root: assembledTowerRoot(k),
      files: own,
      config: path,
      processor: own.preprocessorConfig,
      weights,
      match: (stored) => matchAnyTower(tower, stored, towers[k]?.side ?? 0),
    })),
    title: 'an assembled model',
    parts: [
      ...towers.map(({ tower, side, map }, k) => ({
        name: `tower ${k}`,
        isTower: true,
        owns: (path: string) => isBelow(path, assembledTowerRoot(k)),
        what: `${tower.config === undefined ? `${tower.kind}, pictures of ${side} × ${side}` : describeTower(tower.config, side)}, map of ${map[0]} × ${map[1]} × ${map[2]}`,
      })),
      {
        name: 'connector',
        owns: (path) => isBelow(path, connectorRoot),
        what: `${from.title}, ${plural(pictureTokenCount(model), 'token')} a picture: ${describeLayout(layout)}`,
      },
      { name: 'language model', what: describeLanguage(config.language), owns: () => true },
    ],
    unread: { 'chat_template.jinja': 'prompts are in the template that it is trained with' },
    wanted: () => ({ shapes: assembledShapes(model), layout: 'opabinia assemble' }),
    family: (source, tokenizer) =>
      new AssembledFamily(
        model,
        {
          make: towers.map(({ make }) => make),
          files: towers.flatMap(({ files: own, path }) =>
            [path, own.preprocessorConfig].filter((file) => file !== undefined),
          ),
        },
        source,
        tokenizer,
        beginToken(json),
      ),
  };
}

/** As its `preprocessor_config.json` says, or as pictures of its kind are made. Throws `OpabiniaError` where neither is known. */
export function pixelMaker(files: ModelFiles, tower: AnyTower, side: number): MakePixels {
  if (files.preprocessorConfig !== undefined) {
    const path = files.preprocessorConfig;
    const processor = readProcessor(readJsonFile(path), path);
    const size = processedSize(processor);
    if (size?.height !== side || size.width !== side)
      throw new OpabiniaError(
        `${path} makes pictures of ${size === undefined ? 'no fixed size' : `${size.height} × ${size.width}`}, and the model reads ${side} × ${side}`,
        { op: 'openModel', advice: 'assemble it anew: it is measured then' },
      );
    return (image) => processPicture(image, processor).pixels;
  }
  const norm = tower.pixels;
  if (norm === undefined)
    throw new OpabiniaError(`${files.directory} does not say how its pictures are made`, {
      op: 'openModel',
      advice: 'put its preprocessor_config.json there',
    });
  return (image) => towerPicture(image, { ...norm, side });
}

/** Names that are read to make its map and its last state, against those that are stored. */
export function matchAnyTower(tower: AnyTower, stored: Shapes, side: number): Match {
  if (tower.config !== undefined) return matchTower(tower.config, stored);
  const graph = trace(
    shapedParams(stored, randomParams(0)),
    (t) => ({ map: tower.map(t.params, t.input('pixels', 'b h w c', { b: 1, h: side, w: side, c: 3 })) }),
    { unread: 'ignore' },
  );
  const read = order(graph)
    .filter((node) => roleOf(node) === 'param')
    .map(nameOf);
  const wanted = new Map(read.map((name) => [name, stored.get(name) ?? []] as const));
  const beside = Object.fromEntries(tower.unread.map((prefix) => [prefix, 'connectors read maps alone'] as const));
  // Norms behind the last block are read by some maps and not by others.
  const norms = [...stored.keys()].filter(
    (name) => /(?:^|\.)(?:post_)?(?:layer)?norm\.(?:weight|bias)$/.test(name) && !wanted.has(name),
  );
  return matchTensors(wanted, stored, {
    ...beside,
    ...storedBuffers(stored),
    ...Object.fromEntries(norms.map((name) => [name, 'behind what is read'])),
  });
}

export class AssembledFamily implements Family {
  readonly model: AssembledModel;
  readonly template: TemplateName;
  /** What says how towers and their pictures are. */
  readonly files: readonly string[];
  readonly #make: readonly MakePixels[];
  readonly #source: Source;
  readonly #tokenizer: SandboxTokenizer;
  readonly #begin: number | undefined;

  constructor(
    model: AssembledModel,
    pictures: { readonly make: readonly MakePixels[]; readonly files: readonly string[] },
    source: Source,
    tokenizer: SandboxTokenizer,
    begin: number | undefined,
  ) {
    this.model = model;
    this.#make = pictures.make;
    this.files = pictures.files;
    this.template = templateFor((token) => tokenizer.idOf(token) !== undefined);
    this.#source = source;
    this.#tokenizer = tokenizer;
    this.#begin = begin;
  }

  get language(): AssembledModel['language'] {
    return this.model.language;
  }

  vision = (sizes: AnswerSizes) => assembledVisionGraph(this.#source, this.model, sizes);
  prefill = (sizes: AnswerSizes) => assembledPrefillGraph(this.#source, this.model, sizes);
  decode = (sizes: AnswerSizes) => decodeGraph(this.#source, this.language, sizes);
  readonly decodeParts = {};

  /** What the towers read of a picture: inputs `pixels_{k}`. */
  pixels = (image: Image): Readonly<Record<string, Float32Array>> =>
    Object.fromEntries(this.#make.map((make, k) => [`pixels_${k}`, make(image)]));

  /** Throws `OpabiniaError` for what the template cannot say. */
  layOut = async (questions: readonly Question[]): Promise<LaidOut> => {
    const pictures: Image[] = [];
    const samples: { readonly ids: readonly number[]; readonly images: readonly number[] }[] = [];
    for (const question of questions) {
      const own = question.images ?? [];
      const ids = await templateIds(this.template, this.#tokenizer, this.#begin, question);
      samples.push({ ids, images: own.map((_, i) => pictures.length + i) });
      pictures.push(...own);
    }
    const batch = layOutForInference(samples, pictures, { side: 1, tokens: pictureTokenCount(this.model) });
    return {
      width: batch.length,
      pictures: pictures.length,
      lengths: Int32Array.from(samples, (_, row) =>
        batch.attend.subarray(row * batch.length, (row + 1) * batch.length).reduce((sum, there) => sum + there, 0),
      ),
      ids: samples.map(({ ids }) => ids.filter((id) => id !== imagePlaceholder)),
      views: pictures.map((picture, image) => ({ symbols: { image }, inputs: () => this.pixels(picture) })),
      rows: { ids: { values: batch.ids, otherwise: 0 }, slots: { values: batch.slots, otherwise: -1 } },
      inputs: {},
      symbols: {},
    };
  };
}
