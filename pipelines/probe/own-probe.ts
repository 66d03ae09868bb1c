// Towers probed on a person's own data: each assembled with one connector and one language model, trained by one recipe, asked what was held out.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Device } from '../../runtime/device/device.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import { decodeImage } from '../../runtime/image/image.ts';
import { openModel } from '../answer/open-model.ts';
import { Session } from '../answer/session.ts';
import { assemble, marriedParts } from '../assemble/assemble.ts';
import { readLanguage } from '../assemble/parts.ts';
import type { Counts } from '../statistics/intervals.ts';
import { withLearned } from '../train/learned-model.ts';
import { adamW } from '../train/optimizers/adamw.ts';
import type { Recipe, Stage } from '../train/recipe/recipe.ts';
import { train } from '../train/train.ts';
import { labelRulesOf } from '../train/trainable-of.ts';
import { ownConnector, type OwnConnector } from '../assemble/own-connector.ts';
import { fileName, keptRun, type KeptRun } from './keep-run.ts';
import { openOwnData, plainAnswer, type HeldQuestion, type OwnData } from './own-data.ts';
import { rowName, towerRate, type Probed, type ProbedRow, type Setting } from './probed.ts';
import type { ProbeEntry } from './towers.ts';
import { requireFields, requireList } from '../../dsl/graph/required.ts';
import { makeFolder } from '../../runtime/files/make-folder.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface OwnProbeOptions {
  /** Folder of the samples. */
  readonly data: string;
  readonly language: string;
  readonly settings: readonly Setting[];
  /** As `assemble` takes it; default `mlp2x`. */
  readonly connector?: string | undefined;
  readonly tokens?: number | undefined;
  readonly seeds: number;
  /** Of a row, both stages together. */
  readonly steps: number;
  readonly batch: number;
  readonly rate: number;
  /** Tokens of a sequence. */
  readonly length: number;
  /** Tokens of an answer at most. */
  readonly answerTokens: number;
  readonly root: string;
  readonly device: () => Promise<Device>;
  readonly stopped: () => boolean;
  readonly print: (line: string) => void;
}

/**
 * Towers compared on a person's own data. Throws `OpabiniaError` before anything is trained for data, towers or a language model that do
 * not go together.
 * @example await probeOwn(readEntries('clip,dino,clip+dino', 'S'), options)
 */
export async function probeOwn(entries: readonly ProbeEntry[], options: OwnProbeOptions): Promise<Probed> {
  requireList('probeOwn', entries, 'the entries', "readEntries('clip,dino', 'S')");
  requireFields(
    'probeOwn',
    options,
    { settings: 'object', data: 'string', language: 'string', root: 'string', steps: 'number', device: 'function' },
    "probeOwn(readEntries('clip,dino', 'S'), { data: 'samples', language: 'llama', settings, … })",
  );
  const { settings, root, seeds, steps } = options;
  if (steps < 2 && settings.some(({ stages }) => stages === 2))
    throw new OpabiniaError('two stages share at least 2 steps', { op: 'probe', advice: 'give more --steps' });
  const data = openOwnData(options.data, root);
  const own = options.connector === undefined ? undefined : await ownConnector(options.connector);
  const language = await readLanguage(options.language);
  let languageKey: string;
  try {
    languageKey = contentKey([], language.weights.files).slice(0, 16);
    // Every row, before the first of them takes its hour.
    for (const { towers } of entries)
      await marriedParts(
        { connector: options.connector ?? 'mlp2x', tokens: options.tokens, own },
        language,
        towers.map(({ part }) => part),
      );
  } finally {
    language.opened.close();
  }
  makeFolder(join(root, 'models'));
  const rows: (ProbedRow & { readonly runs: ProbedRow['runs'][number][] })[] = [];
  let complete = true;
  for (let seed = 1; seed <= seeds && complete; seed++)
    for (const entry of entries)
      for (const setting of settings) {
        const towers = entry.towers.map(({ name }) => name);
        const one = await oneRun({ entry, setting, seed, data, options, languageKey, own });
        if (one === undefined) {
          complete = false;
          continue;
        }
        const { run, tokens, parameters } = one;
        const before = rows.find((row) => rowName(row) === rowName({ towers, setting }));
        if (before === undefined) rows.push({ towers, setting, tokens, parameters, runs: [run] });
        else before.runs.push(run);
      }
  return {
    about: `${options.data}: ${plural(data.held.length, 'question')} held out; ${options.language} behind ${options.connector ?? 'mlp2x'}`,
    slices: data.slices,
    rows,
    failed: [],
    complete,
  };
}

interface OneRun {
  readonly entry: ProbeEntry;
  readonly setting: Setting;
  readonly seed: number;
  readonly data: OwnData;
  readonly options: OwnProbeOptions;
  readonly languageKey: string;
  readonly own: OwnConnector | undefined;
}

async function oneRun({ entry, setting, seed, data, options, languageKey, own }: OneRun): Promise<KeptRun | undefined> {
  const { connector = 'mlp2x', tokens, root, print, stopped, steps } = options;
  const towers = entry.towers.map(({ name }) => name);
  // A file that was edited is another connector.
  const code = own === undefined ? [] : [own.digest];
  const parts = [entry.towers.map(({ key }) => key), languageKey, connector, tokens, seed, ...code];
  const name = `${fileName(rowName({ towers, setting }))}-seed-${seed}`;
  const training = [options.batch, options.rate, options.length, options.answerTokens, steps, setting];
  const about = [parts, training, data.held, data.train, data.key];
  return keptRun(join(root, name), about, async () => {
    if (stopped()) return undefined;
    const directory = join(root, 'models', contentKey([JSON.stringify(parts)]).slice(0, 16));
    if (!existsSync(directory))
      await assemble({
        towers: entry.towers.map(({ part }) => part.files.directory),
        connector,
        language: options.language,
        out: directory,
        tokens,
        seed,
      });
    // What an interrupted run has done is of this recipe: another one has another name. Features of towers are shared by all.
    const hash = contentKey([JSON.stringify([about, directory])]).slice(0, 16);
    const recipe = recipeOf({ name: `${name}-${hash}`, directory, data, setting, seed, options, own });
    const device = await options.device();
    const started = performance.now();
    const report = await train(recipe, device, {
      root: join(root, 'runs'),
      resume: true,
      stopped,
      print: (line) => print(`  ${line}`),
    });
    if (report.stages.some(({ ended }) => ended === 'stopped')) return undefined;
    const seconds = (performance.now() - started) / 1000;
    const judged = await answered({
      directory,
      folder: report.folder,
      stages: recipe.stages,
      data,
      options,
      device,
      own,
    });
    const all = judged.counts['all'];
    print(
      `${rowName({ towers, setting })}, seed ${seed}: ${all?.right.reduce((sum, one) => sum + one, 0) ?? 0} of ${data.held.length}`,
    );
    return {
      tokens: judged.tokens,
      parameters: judged.parameters,
      run: { seed, steps, seconds, counts: judged.counts },
    };
  });
}

const towerPaths = ['vision_tower.*'];

function connectorsOf(own: OwnConnector | undefined): Pick<Recipe, 'connectors'> {
  return own === undefined ? {} : { connectors: [own.connector] };
}

function recipeOf({
  name,
  directory,
  data,
  setting,
  seed,
  options,
  own,
}: Pick<OneRun, 'data' | 'setting' | 'seed' | 'options' | 'own'> & {
  readonly name: string;
  readonly directory: string;
}): Recipe {
  const first = setting.stages === 2 ? Math.floor(options.steps / 2) : 0;
  const stage = (title: string, paths: readonly string[], steps: number, towersLearn: boolean): Stage => ({
    name: title,
    data: data.train,
    groups: [
      ...(towersLearn ? [{ paths: towerPaths, lr: towerRate * options.rate }] : []),
      { paths, lr: options.rate },
    ],
    unfreezeTowers: towersLearn,
    optimizer: adamW(),
    schedule: { shape: 'cosine', warmup: { ratio: 0.03 } },
    batch: options.batch,
    steps,
    length: options.length,
    layout: 'unpad',
  });
  return {
    name,
    model: directory,
    ...connectorsOf(own),
    seed,
    stages: [
      ...(first > 0 ? [stage('connector', ['*mm_projector*'], first, false)] : []),
      stage(
        setting.frozen ? 'connector and language model' : 'towers, connector and language model',
        ['*'],
        options.steps - first,
        !setting.frozen,
      ),
    ],
  };
}

/** What the trained model answers to what was held out, greedily; right where it is the answer, letter case and a full stop aside. */
async function answered({
  directory,
  folder,
  stages,
  data,
  options,
  device,
  own,
}: Pick<OneRun, 'data' | 'options' | 'own'> & {
  readonly directory: string;
  readonly folder: string;
  readonly stages: Recipe['stages'];
  readonly device: Device;
}): Promise<{
  readonly counts: Readonly<Record<string, Counts>>;
  readonly tokens: number;
  readonly parameters: number;
}> {
  const opened = withLearned(await openModel(directory, connectorsOf(own)), folder, stages.length, stages);
  try {
    const session = await Session.open(opened, device, { context: options.length + options.answerTokens, images: 1 });
    try {
      const right: number[] = [];
      for (const held of data.held) right.push((await isRight(session, held, options.answerTokens)) ? 1 : 0);
      const slice = (name: string): Counts => {
        const asked = data.held.map((one) => (name === 'all' || one.slice === name ? 1 : 0));
        return { right: right.map((one, i) => one * (asked[i] ?? 0)), asked };
      };
      const learned = [...(opened.source.names() ?? [])].filter((path) => opened.isLearned(path));
      return {
        counts: Object.fromEntries(['all', ...data.slices].map((name) => [name, slice(name)])),
        tokens: labelRulesOf(opened, options.length).pictureTokens,
        parameters: learned.reduce(
          (sum, path) => sum + (opened.source.shape(path) ?? []).reduce((product, size) => product * size, 1),
          0,
        ),
      };
    } finally {
      session.dispose();
    }
  } finally {
    opened.close();
  }
}

async function isRight(session: Session, { image, question, answer }: HeldQuestion, most: number): Promise<boolean> {
  const images = image === undefined ? [] : [await decodeImage(image, { upright: session.model.upright })];
  const answers = session.answer({ text: question, images }, { maxNewTokens: most });
  let next = await answers.next();
  while (next.done !== true) next = await answers.next();
  return plainAnswer(next.value.text) === plainAnswer(answer);
}
