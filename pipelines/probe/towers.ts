// The towers of a probe: those of the shapes by number, any other by its directory; several behind one another with a plus.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import { pixelMaker, type MakePixels } from '../answer/families/assembled.ts';
import { readTowerPart, type TowerPart } from '../assemble/parts.ts';
import { directoryOf, noEncoders, shippedEncoders } from '../shapes/encoders/open-encoders.ts';
import { encoderPair } from '../shapes/encoders/pair.ts';
import type { PresetName } from '../shapes/scene/scene.ts';
import { requireText } from '../../dsl/graph/required.ts';

export interface ProbeTower {
  /** As it was asked for. */
  readonly name: string;
  readonly part: TowerPart;
  readonly make: MakePixels;
  /** Of its weights and configuration. */
  readonly key: string;
}

/** What one row of the table reads. */
export interface ProbeEntry {
  readonly name: string;
  readonly towers: readonly ProbeTower[];
}

/**
 * `shapes:0,shapes:1,shapes:0+shapes:1,DIR`. Throws `OpabiniaError` for a tower that is not there or not known, and for an entry that stands twice.
 * @example readEntries('shapes:0,shapes:0+shapes:1', 'S')
 */
export function readEntries(
  text: string,
  preset: PresetName,
  encoders: string = shippedEncoders(),
): readonly ProbeEntry[] {
  requireText('readEntries', text, 'the towers', "readEntries('shapes:0,shapes:0+shapes:1', 'S')");
  const known = new Map<string, ProbeTower>();
  const entries = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .map((name) => ({
      name,
      towers: name.split('+').map((one) => {
        const tower = known.get(one) ?? openTower(one.trim(), preset, encoders);
        known.set(one, tower);
        return tower;
      }),
    }));
  const names = entries.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new OpabiniaError(`'${twice}' stands twice among the towers`, { op: 'probe', advice: 'name it once' });
  if (entries.length === 0)
    throw new OpabiniaError('there is no tower', { op: 'probe', advice: 'such as --towers shapes:0,shapes:1,DIR' });
  return entries;
}

function openTower(name: string, preset: PresetName, encoders: string): ProbeTower {
  const part = readTowerPart(directoryNamed(name, preset, encoders));
  const { files, tower, side, config, weights } = part;
  const about = [config, files.preprocessorConfig].filter((file) => file !== undefined);
  return {
    name,
    part,
    make: pixelMaker(files, tower, side),
    key: contentKey([tower.kind, String(side)], [...about, ...new Set(weights.files)]).slice(0, 16),
  };
}

function directoryNamed(name: string, preset: PresetName, encoders: string): string {
  const number = /^shapes:(.*)$/.exec(name)?.[1];
  if (number === undefined) return name;
  const encoder = encoderPair(preset)[Number(number)];
  if (!/^[01]$/.test(number) || encoder === undefined)
    throw new OpabiniaError(`'${name}' is not an encoder of the shapes`, {
      op: 'probe',
      advice: 'shapes:0 is the vision transformer, shapes:1 the ConvNeXt',
    });
  const directory = join(encoders, directoryOf(encoder));
  if (!existsSync(join(directory, 'model.safetensors'))) throw noEncoders('probe', preset, encoders, directory);
  return directory;
}

/** Its weights, to be closed by the caller. */
export function openTowerWeights({ part }: ProbeTower): Checkpoint {
  return openCheckpoint(part.weights.path, { dtype: 'f32' });
}
