// A person's own data for a probe: a folder of LLaVA samples, what is held out of it, and the slice of each held-out question.
import { existsSync, fstatSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { randomStream, shuffled } from '../shapes/scene/random.ts';
import { neededLayout, openSamples, passingSamples, readSample, type LlavaSample } from '../train/data/llava-file.ts';
import { openDataSet } from '../train/data/open-data.ts';
import { writeIndex } from '../train/data/mixture-index.ts';
import type { SampleRange } from '../train/data/sample-ranges.ts';
import type { DataSet } from '../train/recipe/recipe.ts';
import { makeFolder } from '../../runtime/files/make-folder.ts';
import { plural } from '../../dsl/text/plural.ts';

/** A held-out question with its answer. */
export interface HeldQuestion {
  /** Whole path; undefined for text alone. */
  readonly image: string | undefined;
  readonly question: string;
  readonly answer: string;
  readonly slice: string;
}

export interface OwnData {
  readonly train: DataSet;
  /** Of what the samples to learn from say: a file that was edited is another one. */
  readonly key: string;
  readonly held: readonly HeldQuestion[];
  readonly slices: readonly string[];
}

/** Of the pictures of a single file. */
const heldShare = 0.2;
const wholeSlice = 'whole';

/**
 * `train.jsonl` and `held.jsonl` (also `test`, `val`; `.json`), or one `data.jsonl`, a fifth of whose pictures is held out by seed; pictures in
 * `images/`, or beside. The first question of each held-out sample is asked; its `slice` or `category` is a column. Throws `OpabiniaError`.
 */
export function openOwnData(folder: string, root: string): OwnData {
  const find = (...names: readonly string[]): string | undefined =>
    names
      .flatMap((name) => [`${name}.jsonl`, `${name}.json`])
      .map((name) => join(folder, name))
      .find((path) => existsSync(path));
  const images = existsSync(join(folder, 'images')) ? join(folder, 'images') : folder;
  const [train, held, single] = [find('train'), find('held', 'test', 'val'), find('data')];
  if (train !== undefined && held !== undefined) {
    const asked = [...samplesOf(held)].map((one) => questionOf(one, images, held));
    return { ...keyed({ file: train, images }), ...sorted(asked, held) };
  }
  if (single === undefined)
    throw new OpabiniaError(`${folder} has neither train.jsonl with held.jsonl nor data.jsonl`, {
      op: 'probe',
      advice: 'put LLaVA samples there, with their pictures in images/',
    });
  return splitFile(single, images, root);
}

function keyed(train: DataSet): Pick<OwnData, 'train' | 'key'> {
  const { file, key } = openDataSet(train, 0);
  file?.close();
  return { train, key };
}

interface Passed {
  readonly sample: LlavaSample;
  readonly json: unknown;
  readonly range: SampleRange;
  readonly where: string;
}

function* samplesOf(path: string): Generator<Passed> {
  for (const { json, where, range, error } of passingSamples(path)) {
    if (error !== undefined) throw error;
    yield { sample: readSample(json, path, where), json, range, where };
  }
}

function questionOf({ sample, json, where }: Passed, images: string, path: string): HeldQuestion {
  const [question, answer] = sample.turns;
  if (question?.role !== 'user' || answer?.role !== 'assistant')
    throw new OpabiniaError(`${path}, ${where}: there is no question with an answer`, { op: 'probe' });
  const fields = json as { readonly slice?: unknown; readonly category?: unknown };
  const slice = [fields.slice, fields.category].find((one) => typeof one === 'string' && one !== '');
  return {
    image: sample.image === undefined ? undefined : join(images, sample.image),
    question: question.text,
    answer: answer.text,
    slice: typeof slice === 'string' ? slice : wholeSlice,
  };
}

function sorted(held: readonly HeldQuestion[], path: string): Pick<OwnData, 'held' | 'slices'> {
  const slices = [...new Set(held.map(({ slice }) => slice))].sort();
  if (slices.includes('all'))
    throw new OpabiniaError(`${path} has a slice 'all'`, { op: 'probe', advice: 'call it otherwise: all is the sum' });
  if (slices.length > 40)
    throw new OpabiniaError(`${path} has ${slices.length} slices`, {
      op: 'probe',
      advice: 'at most 40 columns are told',
    });
  return { held, slices: slices.join() === wholeSlice ? [] : slices };
}

/** Samples of one picture are never on both sides; what is learned is written as an index, without copies. */
function splitFile(path: string, images: string, root: string): OwnData {
  const passed = [...samplesOf(path)].map((one) => ({
    picture: one.sample.image ?? one.where,
    range: one.range,
    question: questionOf(one, images, path),
  }));
  const pictures = [...new Set(passed.map(({ picture }) => picture))];
  const count = Math.max(1, Math.round(heldShare * pictures.length));
  if (count >= pictures.length)
    throw new OpabiniaError(`${path} has ${plural(pictures.length, 'picture')}, too few to hold some out`, {
      op: 'probe',
    });
  const heldOut = new Set(shuffled(randomStream('held out', 0), pictures).slice(0, count));
  const learned = passed.filter(({ picture }) => !heldOut.has(picture)).map(({ range }) => range);
  makeFolder(root);
  const index = join(root, 'train.safetensors');
  const descriptor = openSamples(path);
  const [layout, size] = [neededLayout(descriptor, path), fstatSync(descriptor).size];
  closeSync(descriptor);
  writeIndex(
    index,
    [{ name: path, file: path, images, layout, size, taken: learned.length }],
    {
      starts: Float64Array.from(learned, ({ start }) => start),
      bytes: Uint32Array.from(learned, ({ start, end }) => end - start),
      numbers: Uint32Array.from(learned, ({ number }) => number),
    },
    { seed: 0 },
  );
  const held = passed.filter(({ picture }) => heldOut.has(picture)).map(({ question }) => question);
  return { ...keyed({ index }), ...sorted(held, path) };
}

/** As short answers are compared: small letters, no blanks or full stop at the ends. */
export function plainAnswer(text: string): string {
  return text.trim().toLowerCase().replace(/\.+$/, '').replaceAll(/\s+/g, ' ').trim();
}
