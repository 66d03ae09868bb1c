// The small Cambrian before it has learned anything: a whole directory, with the encoders that come with the package as its towers.
// `npx node examples/shapes/make-model.ts DIR SEED`
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { cambrianShapes } from '../../models/configs/cambrian.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';
import { readConfig } from '../../models/configs/read.ts';
import { directoryOf, shippedEncoders } from '../../pipelines/shapes/encoders/open-encoders.ts';
import { encoderPair } from '../../pipelines/shapes/encoders/pair.ts';
import { fromScratch } from '../../pipelines/shapes/from-scratch.ts';
import { cellName, cellsAcross } from '../../pipelines/shapes/scene/scene.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import { makeDirectory, makeFromCommand, writeJson, type MadeCheckpoint } from '../made/directory.ts';
import type { MadeTokenizer } from '../made/vocabulary.ts';
import { modelConfig, preset } from './model-config.ts';
import { shapesTokenizer, vocabulary } from './tokenizer.ts';

const version = 2;

export type ReadTensor = (path: string, shape: readonly number[]) => Float32Array;

/** Writes the untrained directory, or leaves it when it is there already. */
export function makeModel(directory: string, seed = 1, encoders: string = shippedEncoders()): MadeCheckpoint {
  return makeDirectory(directory, {
    what: 'shapes-cambrian',
    version,
    seed,
    write: (made) => writeModel(made, { encoders, dtype: 'F32', read: undefined, seed }),
  });
}

export interface Written {
  readonly encoders: string;
  readonly dtype: 'F16' | 'F32';
  /** Where the weights come from; by default the seed. */
  readonly read: ReadTensor | undefined;
  readonly seed: number;
}

/** All files of the model but its card; gives the number of parameters. */
export function writeModel(directory: string, { encoders, dtype, read, seed }: Written): number {
  const config = modelConfig();
  const tokenizer = shapesTokenizer();
  writeJson(directory, 'config.json', config);
  writeJson(directory, 'tokenizer.json', tokenizer.json);
  writeJson(directory, 'tokenizer_config.json', tokenizer.config);
  writeJson(directory, 'generation_config.json', {
    bos_token_id: config['bos_token_id'],
    eos_token_id: [config['eos_token_id'], tokenizer.idOf('<|end_of_text|>')],
    do_sample: false,
    max_new_tokens: 64,
  });
  const known = readConfig(config, 'config.json');
  if (known.kind !== 'cambrian') throw new OpabiniaError('the config is not Cambrian’s', { op: 'makeModel' });
  const pair = encoderPair(preset);
  const shapes = cambrianShapes(
    known.cambrian,
    pair.map(({ tower }) => tower),
  );
  const scratch = fromScratch(shapes, seed);
  const valuesOf: ReadTensor =
    read ??
    ((path, shape) => {
      const values = scratch.read(path, shape);
      if (path.endsWith('embed_tokens.weight')) beginCells(values, tokenizer);
      return values;
    });
  writeSafetensors(
    join(directory, 'model.safetensors'),
    [...shapes].map(([name, shape]) => ({ name, shape, dtype, values: valuesOf(name, shape) })),
    { format: 'pt' },
  );
  for (const encoder of pair) {
    const name = directoryOf(encoder);
    const place = join(directory, 'towers', name);
    mkdirSync(place, { recursive: true });
    for (const file of ['config.json', 'preprocessor_config.json', 'model.safetensors'])
      copyFileSync(join(encoders, name, file), join(place, file));
  }
  return countParameters(shapes);
}

/** A cell's row of the table begins as the sum of its letter's and its digit's: what is learned of a row or a column serves four cells. In a twin of the model this saved a quarter of the steps. */
function beginCells(table: Float32Array, { idOf }: MadeTokenizer): void {
  const width = table.length / vocabulary;
  const rowOf = (token: string) => table.subarray(idOf(token) * width, (idOf(token) + 1) * width);
  for (let row = 0; row < cellsAcross; row++)
    for (let column = 0; column < cellsAcross; column++) {
      // The tokenizer spells a space so.
      const name = `Ġ${cellName([row, column])}`;
      const [letter, digit] = [rowOf(name.slice(0, -1)), rowOf(name.slice(-1))];
      rowOf(name).forEach((_, i, cell) => {
        cell[i] = ((letter[i] ?? 0) + (digit[i] ?? 0)) / Math.SQRT2;
      });
    }
}

makeFromCommand(import.meta.url, 'out/shapes-untrained', makeModel);
