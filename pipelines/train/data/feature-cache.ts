// What frozen towers see is computed once: a file for each picture, named by what the towers, the picture and its preprocessing are.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import { openSafetensors } from '../../../runtime/checkpoint/safetensors.ts';
import { writeSafetensors } from '../../../runtime/checkpoint/safetensors-write.ts';
import { decodeAsF32 } from '../../../runtime/checkpoint/stored-values.ts';
import { makeFolder } from '../../../runtime/files/make-folder.ts';

/** Of one picture, by tower. */
export type Features = readonly Float32Array[];

export class FeatureCache {
  readonly #folder: string;
  readonly #shapes: readonly (readonly number[])[];
  #found = 0;
  #made = 0;

  /** `key`: of towers and preprocessing; `shapes`: of the map of each tower. */
  constructor(folder: string, key: string, shapes: readonly (readonly number[])[]) {
    this.#folder = join(folder, key.slice(0, 32));
    this.#shapes = shapes;
  }

  /** Pictures that were read from the disk, and that had to be computed. */
  get counts(): { readonly found: number; readonly made: number } {
    return { found: this.#found, made: this.#made };
  }

  /** The maps of a picture by the key of its content; undefined where there are none, or a file that is damaged: they are made again. */
  find(picture: string): Features | undefined {
    const path = this.#pathOf(picture);
    if (!existsSync(path)) return undefined;
    try {
      const features = this.#read(path);
      if (features !== undefined) this.#found++;
      return features;
    } catch (error) {
      if (error instanceof OpabiniaError) return undefined;
      throw error;
    }
  }

  /** Keeps maps that were made, for `find`. Throws `OpabiniaError` for values that are not finite, and when the disk is full. */
  keep(picture: string, made: Features): Features {
    const path = this.#pathOf(picture);
    this.#check(made);
    makeFolder(dirname(path));
    writeSafetensors(
      path,
      made.map((values, k) => ({ name: `features_${k}`, dtype: 'F32', shape: this.#shapes[k] ?? [], values })),
      { picture },
      { op: 'features' },
    );
    this.#made++;
    return made;
  }

  #pathOf(picture: string): string {
    return join(this.#folder, picture.slice(0, 2), `${picture}.safetensors`);
  }

  #read(path: string): Features | undefined {
    const file = openSafetensors(path);
    try {
      const tensors = this.#shapes.map((_, k) => file.tensors.get(`features_${k}`));
      if (tensors.some((tensor, k) => tensor?.shape.join() !== this.#shapes[k]?.join())) return undefined;
      return tensors.flatMap((tensor) => {
        if (tensor === undefined) return [];
        const bytes = new Uint8Array(tensor.bytes);
        file.readInto(tensor.name, bytes);
        return [decodeAsF32(tensor.dtype, bytes)];
      });
    } finally {
      file.close();
    }
  }

  #check(features: Features): void {
    features.forEach((values, k) => {
      const wrong = values.findIndex((value) => !Number.isFinite(value));
      if (wrong >= 0)
        throw new OpabiniaError(`tower ${k} gives ${values[wrong]} at element ${wrong}`, {
          op: 'features',
          advice: 'the picture or the weights hold NaN, or f16 overflows: open the model as f32',
        });
    });
  }
}
