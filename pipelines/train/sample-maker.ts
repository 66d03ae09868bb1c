// Samples as a model learns from them: ids with labels, and what is seen of the picture; what cannot be used is replaced.
import { join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import type { BranchedIds } from '../../models/sequence/branches.ts';
import type { LabelledIds } from '../../models/sequence/labels.ts';
import type { PictureSize } from '../../models/sequence/masks.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import { decodeImage, type Image } from '../../runtime/image/image.ts';
import type { Features } from './data/feature-cache.ts';
import type { LlavaSample } from './data/llava-file.ts';
import { labelCounts, sampleLabels, type LabelRules } from './label-rules.ts';
import type { SeenPicture, Sight } from './data/seen-pictures.ts';
import { plural } from '../../dsl/text/plural.ts';

/** A sample that can be learned from. */
export interface PreparedSample extends LabelledIds {
  readonly picture: PictureSize | undefined;
  /** Maps of its picture, or pixels where towers learn. */
  readonly features: Features;
  /** Where questions of a sample are independent. */
  readonly branches?: BranchedIds['branches'] | undefined;
}

/** A sample whose picture nothing has seen yet. */
interface ReadSample extends Omit<PreparedSample, 'picture' | 'features'> {
  readonly seen: SeenPicture | undefined;
}

/** Why a sample cannot be learned from, and what makes it one that can. */
interface Unusable {
  readonly why: string;
  readonly advice: string;
}

export interface SampleRules extends LabelRules {
  /** Folder of the pictures. */
  readonly images: string;
  /** Whether photographs are turned as the camera was held. */
  readonly upright: boolean;
  readonly towers: Sight;
  /** The sample that stands in for one that cannot be used. */
  readonly first: () => Promise<LlavaSample>;
}

export class SampleMaker {
  readonly #rules: SampleRules;

  constructor(rules: SampleRules) {
    this.#rules = rules;
  }

  /** Throws `OpabiniaError` where neither a sample nor the first of the data can be used. */
  async prepare(
    samples: readonly LlavaSample[],
  ): Promise<{ readonly prepared: readonly PreparedSample[]; readonly replaced: readonly string[] }> {
    const replaced: string[] = [];
    const read: ReadSample[] = [];
    for (const sample of samples) read.push(await this.#usable(sample, replaced));
    const features = await this.#rules.towers.see(read.map(({ seen }) => seen));
    const prepared = read.map(({ seen, ...labelled }, i) => ({
      ...labelled,
      picture: seen === undefined ? undefined : { width: seen.image.width, height: seen.image.height },
      features: features[i] ?? [],
    }));
    return { prepared, replaced };
  }

  /** The sample, or the first of the data where it has no label that counts or its picture cannot be read. */
  async #usable(sample: LlavaSample, replaced: string[]): Promise<ReadSample> {
    const own = await this.#read(sample);
    if (!('why' in own)) return own;
    replaced.push(own.why);
    const first = await this.#read(await this.#rules.first());
    if (!('why' in first)) return first;
    throw new OpabiniaError(
      `a sample cannot be used (${own.why}), and neither can the first one, which takes its place (${first.why})`,
      { op: 'data', advice: first.advice },
    );
  }

  /** Or why it cannot be used. */
  async #read(sample: LlavaSample): Promise<ReadSample | Unusable> {
    const { length } = this.#rules;
    const labelled = await sampleLabels(sample, this.#rules);
    const { all, left, needed } = labelCounts(labelled, this.#rules);
    if (all === 0)
      return {
        why: `none of the ${plural(labelled.ids.length, 'token')} of its ${plural(sample.turns.length, 'turn')} is learned`,
        advice: 'put a sample with an answer at the beginning of the data',
      };
    if (left === 0)
      return {
        why: `no label is left within a length of ${length}: with its answers it has ${plural(needed, 'token')}`,
        advice: `raise \`length\` of the stage to ${needed} or more`,
      };
    if (sample.image === undefined) return { ...labelled, seen: undefined };
    const path = join(this.#rules.images, sample.image);
    const image = await readPicture(path, this.#rules.upright);
    if (typeof image === 'string')
      return { why: image, advice: 'put a sample with a picture that can be read at the beginning of the data' };
    return { ...labelled, seen: { key: contentKey([], [path]), image } };
  }
}

/** The picture, or why it cannot be read. */
async function readPicture(path: string, upright: boolean): Promise<Image | string> {
  try {
    return await decodeImage(path, { upright });
  } catch (error) {
    const isOurs = error instanceof OpabiniaError || (error instanceof Error && 'code' in error);
    if (!isOurs) throw error;
    return `${path} cannot be read: ${error.message.split('\n')[0] ?? ''}`;
  }
}
