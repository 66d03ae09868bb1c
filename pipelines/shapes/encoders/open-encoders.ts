// The two encoders of a preset from their directories, as one source of parameters, and what they make of pictures.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from '../../../compiler/compile.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import { trace } from '../../../dsl/index.ts';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { joinSources, type Source } from '../../../runtime/checkpoint/joined-source.ts';
import { deviceProfile } from '../../../runtime/device/dawn.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { contentKey } from '../../../runtime/files/content-key.ts';
import { load, type Program } from '../../../runtime/program/program.ts';
import { packageFolder } from '../../../runtime/files/package-files.ts';
import { drawScene } from '../scene/draw.ts';
import { makeScene, scenePresets, type PresetName } from '../scene/scene.ts';
import { encode, encoderPair, normalized, type ShapeEncoder } from './pair.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** The last part of its name, as Cambrian's directories have it. */
export function directoryOf({ name }: ShapeEncoder): string {
  return name.split('/').at(-1) ?? name;
}

/** Where the parameters of encoder k stand. */
export function encoderRoot(k: number): string {
  return `encoder_${k}`;
}

/** Those that come with the package. */
export function shippedEncoders(): string {
  return join(packageFolder(), 'examples', 'shapes', 'encoders');
}

export interface OpenEncoders {
  readonly preset: PresetName;
  readonly pair: readonly [ShapeEncoder, ShapeEncoder];
  readonly source: Source;
  /** Of their weights. */
  readonly key: string;
  readonly close: () => void;
}

/** What is said of encoders that are not there, with the command that makes them. */
export function noEncoders(op: string, preset: PresetName, folder: string, missing: string): OpabiniaError {
  return new OpabiniaError(`there are no encoders for preset ${preset}: ${missing} is missing`, {
    op,
    advice: `train them once: opabinia shapes encoders --preset ${preset} --out ${folder}`,
  });
}

/** Throws `OpabiniaError` where the directories are not there, with the command that makes them. */
export function openEncoders(preset: PresetName, folder: string = shippedEncoders()): OpenEncoders {
  const pair = encoderPair(preset);
  const files = pair.map((encoder) => join(folder, directoryOf(encoder), 'model.safetensors'));
  const missing = files.find((path) => !existsSync(path));
  if (missing !== undefined) throw noEncoders('shapes', preset, folder, missing);
  const opened = files.map((path) => openCheckpoint(path, { dtype: 'f32' }));
  const [first, ...rest] = opened.map((source, k) => ({ root: encoderRoot(k), source }));
  if (first === undefined) throw new RangeError('there is no encoder');
  return {
    preset,
    pair,
    source: joinSources([first, ...rest]),
    key: contentKey([preset], files).slice(0, 16),
    close: () => {
      for (const checkpoint of opened) checkpoint.close();
    },
  };
}

/** Maps of scenes by encoder, `b h w c` in f16: what is kept of them. */
export interface SceneMaps {
  readonly count: number;
  readonly maps: readonly Float16Array[];
}

const atOnce = 32;

/** Runs both encoders over the scenes `from` to `from + count − 1`, 32 at once. */
export async function encodeScenes(
  { preset, pair, source }: OpenEncoders,
  device: Device,
  { from, count }: { readonly from: number; readonly count: number },
  print: (line: string) => void,
): Promise<SceneMaps> {
  const { side } = scenePresets[preset];
  const graph = trace(
    source,
    (t) =>
      Object.fromEntries(
        pair.map((encoder, k) => {
          const pixels = t.input(`pixels_${k}`, 'b h w c', { b: atOnce, h: side, w: side, c: 3 });
          return [`map_${k}`, encode(t.params.at(encoderRoot(k)), pixels, encoder)];
        }),
      ),
    { unread: 'ignore' },
  );
  const program: Program = await load(compile(graph, deviceProfile(device)), device, source);
  const sizes = pair.map(({ map }) => map.reduce((product, size) => product * size, 1));
  const maps = sizes.map((size) => new Float16Array(size * count));
  try {
    for (let start = 0; start < count; start += atOnce) {
      // The last batch is filled up with scenes behind the wanted ones, which are dropped.
      const drawn = Array.from({ length: atOnce }, (_, i) =>
        drawScene(makeScene(scenePresets[preset], from + start + i)),
      );
      const outputs = await program.run(
        Object.fromEntries(pair.map((encoder, k) => [`pixels_${k}`, normalized(drawn, encoder)])),
      );
      const kept = Math.min(atOnce, count - start);
      sizes.forEach((size, k) => {
        const data = outputs[`map_${k}`]?.data;
        if (!(data instanceof Float32Array)) throw new OpabiniaError(`encoder ${k} gave no map`, { op: 'shapes' });
        maps[k]?.set(data.subarray(0, kept * size), start * size);
      });
      if ((start / atOnce) % 16 === 15) print(`  ${start + kept} of ${plural(count, 'picture')} encoded`);
    }
  } finally {
    program.dispose();
  }
  return { count, maps };
}
