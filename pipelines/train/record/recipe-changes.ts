// In which fields a recipe differs from the one that a run was trained by, and which of them would make the run something that no recipe is.
import { OpabiniaError } from '../../../dsl/error.ts';
import { rootName, weightsDigest, type ModelDigest } from '../../model-identity.ts';
import type { Stage } from '../recipe/recipe.ts';
import type { Position } from '../run/checkpoints.ts';
import { rateFactor } from '../step/schedule.ts';
import { plural } from '../../../dsl/text/plural.ts';

export interface Change {
  /** From the recipe on, as `--set` has it: `stages.0.groups.1.lr`. */
  readonly path: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** Every field that differs; lists of plain values are one field. */
export function changesOf(before: unknown, now: unknown): readonly Change[] {
  const [old, young] = [fieldsOf(before), fieldsOf(now)];
  return [...new Set([...old.keys(), ...young.keys()])]
    .map((path): Change => ({ path, from: old.get(path), to: young.get(path) }))
    .filter(({ from, to }) => from !== to);
}

/** `seed 1 → 9` */
export function printChange({ path, from = 'none', to = 'none' }: Change): string {
  return `${path} ${from} → ${to}`;
}

type Place = Pick<Position, 'stage' | 'step'>;

/**
 * Throws `OpabiniaError` with all fields where one changes what has been trained already. A stage that has not begun may change, and so
 * may what is only told or saved; how long the stage at hand is, `refuseLength` decides.
 */
export function refuseOthers(folder: string, changes: readonly Change[], { stage }: Place): void {
  const wrong = changes.filter(({ path }) => {
    const [, index, field = ''] = /^stages\.(\d+)\.(.*)$/.exec(path) ?? [];
    return index === undefined ? path !== 'name' : Number(index) <= stage && !told.has(field);
  });
  const atHand = new Set([...lengths].map((field) => `stages.${stage}.${field}`));
  if (wrong.some(({ path }) => !atHand.has(path))) throw refused(folder, wrong.map(printChange).join('; '));
}

const told = new Set(['name', 'logEvery', 'saveEvery', 'evaluation.every']);
const lengths = ['steps', 'epochs'];

/**
 * Throws `OpabiniaError` where the stage at hand is to have another number of steps, and those that are taken would then have had other
 * rates, or are more than it has.
 */
export function refuseLength(
  folder: string,
  { schedule }: Pick<Stage, 'schedule'>,
  [before, now]: readonly [before: number, now: number],
  { stage, step }: Place,
): void {
  if (before === now) return;
  const what = `stage ${stage + 1} is of ${plural(now, 'step')}, and was of ${before}`;
  if (now < step) throw refused(folder, `${what}, of which ${step} are taken`);
  for (let taken = 0; taken < step; taken++)
    if (rateFactor(schedule, taken, now) !== rateFactor(schedule, taken, before))
      throw refused(
        folder,
        `${what}; with its schedule '${schedule.shape}' the ${step} that are taken had other learning rates than they would have`,
      );
}

/** Throws `OpabiniaError` where the data of the stage at hand has another number of samples than it had: they come in another order. */
export function refuseSamples(
  folder: string,
  [before, now]: readonly [before: number, now: number],
  { stage }: Place,
): void {
  if (before !== now)
    throw refused(folder, `the data of stage ${stage + 1} has ${plural(now, 'sample')}, and had ${before}`);
}

/** Throws `OpabiniaError` where the data of the stage at hand, of as many samples, says something else than it did. */
export function refuseContents(
  folder: string,
  [before, now]: readonly [before: string, now: string],
  { stage }: Place,
): void {
  if (before !== now) throw refused(folder, `the samples of stage ${stage + 1} are others than they were`);
}

/** Throws `OpabiniaError` where the pictures of the stage at hand show something else than they did. */
export function refusePictures(
  folder: string,
  [before, now]: readonly [before: string, now: string],
  { stage }: Place,
): void {
  if (before === now) return;
  throw new OpabiniaError(`pictures of stage ${stage + 1} are others than when ${folder} was trained`, {
    op: 'train',
    advice: 'bring the files back as they were; or train with those that are there now, without --resume: --set name=…',
  });
}

/**
 * Throws `OpabiniaError` where the model that a run began with is another now, though its directory has the same name: what was learned is a
 * difference to it, or stands in front of weights that it never saw.
 */
export function refuseModel(
  folder: string,
  directory: string,
  [before, now]: readonly [before: ModelDigest, now: ModelDigest],
): void {
  const other = Object.keys({ ...before.weights, ...now.weights }).find(
    (root) => before.weights[root] !== now.weights[root],
  );
  if (other !== undefined) throw otherModel(folder, directory, weightsOf(other));
  if (before.texts !== now.texts) throw otherModel(folder, directory, 'config, tokenizer or preprocessor');
}

const weightsOf = (root: string): string => (root === rootName('') ? 'weights' : `weights of ${root}`);

/** Throws `OpabiniaError` where weights below one root are not those that a run began with; what a record does not know of holds. */
export function refuseWeights(
  folder: string,
  model: ModelDigest | undefined,
  { root, directory, files }: { readonly root: string; readonly directory: string; readonly files: readonly string[] },
): void {
  const known = model?.weights[rootName(root)];
  if (known !== undefined && known !== weightsDigest(files))
    throw otherModel(folder, directory, weightsOf(rootName(root)));
}

function otherModel(folder: string, directory: string, what: string): OpabiniaError {
  return new OpabiniaError(`${directory} is not what ${folder} began with: its ${what} changed`, {
    op: 'train',
    advice: 'bring the files back as they were; or train from the model as it is now, without --resume: --set name=…',
  });
}

function refused(folder: string, what: string): OpabiniaError {
  return new OpabiniaError(`this recipe is not the one that ${folder} was trained by: ${what}`, {
    op: 'train',
    advice: `train it as a run of its own, without --resume: --set name=…; or go on with the recipe of ${folder}/config.json`,
  });
}

function fieldsOf(root: unknown): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const visit = (value: unknown, at: string): void => {
    const isPlain = typeof value !== 'object' || value === null;
    if (value === undefined) return;
    if (isPlain) found.set(at, String(value));
    else if (Array.isArray(value) && value.every((one) => typeof one !== 'object'))
      found.set(at, JSON.stringify(value));
    else for (const [key, inner] of Object.entries(value)) visit(inner, at === '' ? key : `${at}.${key}`);
  };
  visit(root, '');
  return found;
}
