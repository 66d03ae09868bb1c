// What is put together, as it is on disk: a language model by itself, and vision towers.
import { OpabiniaError } from '../../dsl/index.ts';
import type { ConfigJson } from '../../models/configs/fields.ts';
import type { MapShape } from '../../models/connectors/connector.ts';
import type { DecoderName } from '../../models/decoders/families.ts';
import { mapShapeOf, readAnyTower, type AnyTower } from '../../models/towers/any-tower.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, needFile, readJsonFile, resolveModel, type ModelFiles } from '../../runtime/checkpoint/hub.ts';
import { checkFloats, checkMatch } from '../../runtime/checkpoint/match.ts';
import type { StoredTensor } from '../../runtime/checkpoint/safetensors.ts';
import { processedSize, readProcessor } from '../../runtime/image/preprocess.ts';
import { matchAnyTower, pixelMaker } from '../answer/families/assembled.ts';
import { examine } from '../answer/examine.ts';
import type { OpenedModel } from '../answer/open-model.ts';

/** The tensors of a part. */
export interface PartWeights {
  /** One file, or the index of its shards. */
  readonly path: string;
  readonly files: readonly string[];
  /** The shard of each tensor, by its name. */
  readonly tensors: ReadonlyMap<string, string>;
  readonly bytes: number;
  /** Stored dtype of most of them. */
  readonly dtype: string;
}

export interface LanguagePart {
  readonly files: ModelFiles;
  readonly json: ConfigJson;
  readonly type: DecoderName;
  readonly opened: OpenedModel;
  readonly weights: PartWeights;
}

export interface TowerPart {
  readonly files: ModelFiles;
  readonly config: string;
  readonly tower: AnyTower;
  /** Side of its pictures, and the map that it makes of one. */
  readonly side: number;
  readonly map: MapShape;
  readonly weights: PartWeights;
}

/** Opened whole, so that nothing is written about what `run` would refuse; to be closed by the caller. Throws `OpabiniaError`. */
export async function readLanguage(model: string): Promise<LanguagePart> {
  const { config, opened, files, close } = await examine(model, {}, async (step) => step());
  if (config?.kind === 'language' && opened !== undefined)
    return {
      files,
      json: config.json,
      type: config.family,
      opened,
      weights: weightsOf(needFile(files.weights, 'model.safetensors', files)).weights,
    };
  close();
  throw new OpabiniaError(`${model} is not a language model by itself`, {
    op: 'assemble',
    advice: 'give as --llm the directory of a language model, such as a Llama or a Qwen',
  });
}

/** Throws `OpabiniaError` for a tower that is not known, whose weights are not those of its config, or whose pictures have no one size. */
export function readTowerPart(model: string): TowerPart {
  const files = modelFiles(resolveModel(model));
  const config = needFile(files.config ?? files.openClipConfig, 'config.json', files);
  const tower = readAnyTower(readJsonFile(config), config);
  const side = sideOf(files, tower);
  pixelMaker(files, tower, side);
  const { weights, shapes, stored } = weightsOf(needFile(files.weights, 'model.safetensors', files));
  const match = matchAnyTower(tower, shapes, side);
  checkMatch(match, files.directory);
  checkFloats(match, stored, files.directory);
  return { files, config, tower, side, map: mapShapeOf(tower, side), weights };
}

function sideOf(files: ModelFiles, tower: AnyTower): number {
  const path = files.preprocessorConfig;
  if (path !== undefined) {
    const size = processedSize(readProcessor(readJsonFile(path), path));
    if (size === undefined || size.height !== size.width)
      throw new OpabiniaError(
        `${path} makes pictures of ${size === undefined ? 'no fixed size' : `${size.height} × ${size.width}`}`,
        {
          op: 'assemble',
          advice: 'towers are given square pictures: state crop_size, or height and width, without keep_aspect_ratio',
        },
      );
    return size.height;
  }
  const side = tower.side ?? tower.pixels?.side;
  if (side !== undefined) return side;
  throw new OpabiniaError(`${files.directory} does not say how large its pictures are`, {
    op: 'assemble',
    advice: 'put its preprocessor_config.json there',
  });
}

function weightsOf(path: string): {
  readonly weights: PartWeights;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly stored: readonly StoredTensor[];
} {
  const checkpoint = openCheckpoint(path);
  checkpoint.close();
  const counts = new Map<string, number>();
  let bytes = 0;
  for (const tensor of checkpoint.stored.values()) {
    counts.set(tensor.dtype, (counts.get(tensor.dtype) ?? 0) + tensor.bytes);
    bytes += tensor.bytes;
  }
  const [dtype = 'F32'] = [...counts].toSorted((a, b) => b[1] - a[1]).map(([name]) => name);
  return {
    weights: { path, files: checkpoint.files, tensors: checkpoint.places, bytes, dtype },
    stored: [...checkpoint.stored.values()],
    shapes: new Map([...checkpoint.stored].map(([name, { shape }]) => [name, shape])),
  };
}
