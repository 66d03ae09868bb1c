// What frozen towers see is computed once: a file for each picture, named by what the towers, the picture and its preprocessing are.
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import { openSafetensors } from '../../../runtime/checkpoint/safetensors.ts';
import { writeSafetensors } from '../../../runtime/checkpoint/safetensors-write.ts';
import { decodeAsF32 } from '../../../runtime/checkpoint/stored-values.ts';

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

  has(picture: string): boolean {
    return existsSync(this.#pathOf(picture));
  }

  /** The maps of a picture by the key of its content; those that were made are kept. Throws `OpabiniaError`. */
  features(picture: string, made: Features | undefined): Features {
    const path = this.#pathOf(picture);
    if (made === undefined) {
      this.#found++;
      return this.#read(path);
    }
    this.#check(made);
    mkdirSync(dirname(path), { recursive: true });
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

  #read(path: string): Features {
    const file = openSafetensors(path);
    try {
      return this.#shapes.map((shape, k) => {
        const tensor = file.tensors.get(`features_${k}`);
        if (tensor === undefined || tensor.shape.join() !== shape.join())
          throw new OpabiniaError(`${path} has no features_${k} of shape [${shape.join(' ')}]`, {
            op: 'features',
            advice: 'delete the file: it is computed again',
          });
        const bytes = new Uint8Array(tensor.bytes);
        file.readInto(`features_${k}`, bytes);
        return decodeAsF32(tensor.dtype, bytes);
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
