// A model judged: questions read, what the journal lacks asked, everything counted and written.
import { basename, join, resolve } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { isGreedy } from '../../models/decoders/sampling.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import { OutOfMemoryError } from '../../runtime/device/failure.ts';
import { writeFileAtomic } from '../../runtime/files/atomic-file.ts';
import { openModel, type OpenedModel, type OpenModelOptions } from '../answer/open-model.ts';
import { asRecommended, notesOnGeneration } from '../answer/opened-model.ts';
import { shorterContext } from '../answer/session-plans.ts';
import { RowSession } from '../answer/rows/row-session.ts';
import type { Place } from '../run/engine.ts';
import { openTasks } from './ask/same-pictures.ts';
import { askQuestions, tasksOf, type AskProgress, type Blind, type How, type Task } from './ask/ask-questions.ts';
import { PictureDecoder } from './ask/decoder.ts';
import { benchmarkNamed } from './benchmarks.ts';
import { NeverInFormError } from './errors.ts';
import { Journal } from './journal.ts';
import { modelIdentity } from '../model-identity.ts';
import { mergeQuestions, readQuestions, type Questions } from './read/questions.ts';
import { leftOut } from './report/earlier-results.ts';
import { resultOf, type EvaluationResult, type Judged } from './report/results.ts';
import { writeSamples } from './report/samples.ts';
import { requireFields, requireList, requirePath } from '../../dsl/graph/required.ts';
import { makeFolder, checkFolder } from '../../runtime/files/make-folder.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface BenchPath {
  readonly benchmark: string;
  readonly path: string;
}

export interface EvaluateOptions extends OpenModelOptions {
  readonly benches: readonly BenchPath[];
  /** The folder of results; `evals/NAME` by default. */
  readonly out?: string | undefined;
  /** Of each benchmark the first so many. */
  readonly limit?: number | undefined;
  /** Everything once more without pictures; auto: in words alone where the model can be asked so, with gray pictures where it cannot. */
  readonly blind?: Blind | 'auto' | undefined;
  /** Opens what the model runs on, when there is something to ask; a device by default. */
  readonly place?: (() => Promise<Place>) | undefined;
  /** Questions answered at once; auto: as many as fit. */
  readonly batch?: number | 'auto' | undefined;
  /** Tokens of an answer at most, if less than the benchmark's own. */
  readonly maxNewTokens?: number | undefined;
  readonly context?: number | undefined;
  readonly system?: string | undefined;
  /** Further folders of pictures. */
  readonly images?: readonly string[] | undefined;
  /** How the weights were asked for, in words: a part of what the model is known by. */
  readonly stored?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly note?: ((text: string) => void) | undefined;
  readonly compiled?: (() => void) | undefined;
  readonly progress?: ((progress: AskProgress) => void) | undefined;
}

export interface Evaluated {
  readonly result: EvaluationResult;
  readonly out: string;
  /** Files that leaderboards take, and where they go. */
  readonly submissions: readonly { readonly file: string; readonly to: string }[];
  /** What should be known before the figures are believed. */
  readonly warnings: readonly OpabiniaError[];
  /** Questions that this run asked: the others stood in the journal. */
  readonly asked: number;
}

/**
 * Judges a model directory. Files, columns and journal are looked at before the model is opened, the model before the device, and without
 * an open question no device is needed. Throws `BenchmarkFileError`, `BenchmarkColumnsError`, `JournalError`, `OpabiniaError`,
 * `DeviceError`; what was answered until then is kept.
 * @example const { result } = await evaluate('out/model', { benches: [{ benchmark: 'cv-bench', path: 'data/cv-bench' }] })
 */
export async function evaluate(directory: string, options: EvaluateOptions): Promise<Evaluated> {
  const call = "evaluate('out/model', { benches: [{ benchmark: 'cv-bench', path: 'data/cv-bench' }] })";
  requirePath('evaluate', directory, 'the model', call);
  requireFields('evaluate', options, { benches: 'object' }, call);
  requireList('evaluate', options.benches, 'the benches', call);
  const { note = () => undefined } = options;
  const out = resolve(options.out ?? join('evals', basename(resolve(directory))));
  checkFolder(out, 'eval');
  const all = await questionsOf(options);
  for (const { benchmark, asked } of all) note(`${benchmark.title}: ${plural(asked.length, 'question')}`);
  const model = await openModel(directory, options);
  try {
    checkSight(model, all);
    const blind = await blindOf(model, options.blind, note);
    const identity = modelIdentity(model, options.stored ?? '');
    const journal = Journal.open(join(out, 'journal.sqlite'), identity);
    try {
      const tasks = tasksOf(all, { ...options, blind });
      const open = await openTasks(tasks, journal);
      note(`${open.length} of ${plural(tasks.length, 'question')} ${open.length === 1 ? 'is' : 'are'} to be asked`);
      if (open.length > 0) await askAll(model, open, journal, options);
      return written(all, tasks, journal, { out, directory, identity, options, blind, asked: open.length });
    } finally {
      journal.close();
    }
  } finally {
    model.close();
  }
}

async function questionsOf({ benches, limit, images }: EvaluateOptions): Promise<readonly Questions[]> {
  const all: Questions[] = [];
  for (const { benchmark, path } of benches)
    all.push(await readQuestions(await benchmarkNamed(benchmark), path, { limit, images }));
  return mergeQuestions(all);
}

function checkSight({ family }: OpenedModel, all: readonly Questions[]): void {
  if (family.vision !== undefined || family.seesByView === true) return;
  const seen = all.find(({ asked }) => asked.some(({ item }) => item.pictures.length > 0));
  if (seen !== undefined)
    throw new OpabiniaError(`${seen.benchmark.title} asks about pictures, and this model reads text only`, {
      op: 'eval',
      advice: 'give a model with a vision encoder',
    });
}

/** Models that look for their picture refuse a prompt without one: that is found before the device is. */
async function blindOf(
  { family }: OpenedModel,
  blind: EvaluateOptions['blind'],
  note: (text: string) => void,
): Promise<Blind | undefined> {
  if (blind === undefined || blind === 'gray') return blind;
  try {
    await family.layOut([{ text: 'What is this?' }], {});
    return 'text';
  } catch (error) {
    if (!(error instanceof OpabiniaError)) throw error;
    if (blind === 'text')
      throw new OpabiniaError(`this model cannot be asked blind, in words alone: ${error.what}`, {
        op: 'eval',
        advice: 'ask with gray pictures: --blind gray',
        cause: error,
      });
    note('the model cannot be asked without a picture: blind it is asked about gray ones');
    return 'gray';
  }
}

/** On a device, with as many rows as fit. */
async function askAll(
  model: OpenedModel,
  tasks: readonly Task[],
  journal: Journal,
  { place: open = openDevice, batch = 'auto', context, system, signal, note, compiled, progress }: EvaluateOptions,
): Promise<void> {
  const place = await open();
  try {
    const images = Math.max(1, ...tasks.map(({ asked }) => asked.item.pictures.length));
    const session = await openRows(model, place, { batch, most: tasks.length, context, images, note, compiled });
    const decoder = new PictureDecoder(model.upright);
    try {
      const rows = session.rows.all;
      note?.(
        `${rows} ${rows === 1 ? 'question' : 'questions'} at once on ${place.facts.name}${'engine' in place ? '' : '; first the driver compiles'}`,
      );
      await askQuestions(tasks, session, journal, decoder, { rows, system, signal, progress });
    } finally {
      await decoder.close();
      await session.close();
    }
  } finally {
    place.close();
  }
}

interface RowChoice {
  readonly batch: number | 'auto';
  readonly most: number;
  readonly context: number | undefined;
  readonly images: number;
  readonly note: ((text: string) => void) | undefined;
  readonly compiled: (() => void) | undefined;
}

/** More rows share a pass through the weights, which a software device does not profit from. */
const rowsOf = { software: 8, hardware: 32 };

async function openRows(
  model: OpenedModel,
  place: Place,
  { batch, most, context, images, note, compiled }: RowChoice,
): Promise<RowSession> {
  const wanted = batch === 'auto' ? rowsOf[place.facts.software ? 'software' : 'hardware'] : batch;
  const shorter = shorterContext(model, context);
  if (shorter !== undefined) note?.(shorter);
  for (const line of notesOnGeneration(model)) note?.(line);
  const draws = isGreedy(asRecommended(model, {})) ? 'greedy' : 'any';
  const first = batch === 'auto' ? Math.min(wanted, most) : wanted;
  for (let rows = first; ; rows = Math.ceil(rows / 2)) {
    try {
      return await RowSession.open(model, place, { rows, context, images, draws, note, compiled });
    } catch (error) {
      if (batch !== 'auto' || rows === 1 || !(error instanceof OutOfMemoryError)) throw error;
      note?.(`${rows} at once do not fit: ${error.what}`);
    }
  }
}

interface Writing {
  readonly out: string;
  readonly directory: string;
  readonly identity: Readonly<Record<string, string>>;
  readonly options: EvaluateOptions;
  readonly blind: Blind | undefined;
  readonly asked: number;
}

function written(
  all: readonly Questions[],
  tasks: readonly Task[],
  journal: Journal,
  { out, directory, identity, options, blind: how, asked }: Writing,
): Evaluated {
  makeFolder(out);
  const name = basename(resolve(directory));
  const submissions: { readonly file: string; readonly to: string }[] = [];
  const warnings: OpabiniaError[] = [];
  const benchmarks = all.map((questions) => {
    const { benchmark } = questions;
    const sighted = judged(questions, 'sighted', tasks, journal);
    const blind = how === undefined ? undefined : { how, answers: judged(questions, how, tasks, journal) };
    writeSamples(join(out, `samples_${benchmark.name}.jsonl`), benchmark, sighted);
    if (blind !== undefined) writeSamples(join(out, `samples_${benchmark.name}.blind.jsonl`), benchmark, blind.answers);
    const submission = benchmark.submission?.(sighted, name);
    if (submission !== undefined) {
      const file = join(out, submission.file);
      writeFileAtomic(file, submission.content, { op: 'eval' });
      submissions.push({ file, to: submission.to });
    }
    const result = resultOf(benchmark, questions.files, sighted, blind);
    if (result.inForm === 0) warnings.push(new NeverInFormError(benchmark.title, benchmark.form, result.count));
    return result;
  });
  const result: EvaluationResult = {
    version: 1,
    model: { name, identity },
    settings: {
      ...(options.limit === undefined ? {} : { limit: options.limit }),
      ...(options.maxNewTokens === undefined ? {} : { maxNewTokens: options.maxNewTokens }),
      ...(options.system === undefined ? {} : { system: options.system }),
    },
    benchmarks,
  };
  const lost = leftOut(
    join(out, 'results.json'),
    benchmarks.map((one) => one.name),
  );
  if (lost.length > 0)
    options.note?.(
      `results.json had ${lost.join(', ')} too, and has what this command names alone now: with a --bench for each all are there, and none is asked twice`,
    );
  writeFileAtomic(join(out, 'results.json'), `${JSON.stringify(result, null, 2)}\n`, { op: 'eval' });
  return { result, out, submissions, warnings, asked };
}

function judged(
  { benchmark, asked }: Questions,
  how: How,
  tasks: readonly Task[],
  journal: Journal,
): readonly Judged[] {
  const own = new Map(tasks.filter((task) => task.how === how).map((task) => [task.asked, task]));
  return asked.flatMap((one): readonly Judged[] => {
    const task = own.get(one);
    const kept = task === undefined ? undefined : journal.find(task.key);
    if (kept === undefined) return [];
    const grade = kept.failure === '' ? benchmark.grade?.(kept.text, one.item.gold) : undefined;
    return [
      {
        item: one.item,
        index: one.index,
        key: one.key,
        answer: kept.text,
        grade,
        picture: kept.picture,
        failure: kept.failure,
      },
    ];
  });
}
