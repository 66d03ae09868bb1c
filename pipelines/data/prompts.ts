// Which sources have short answers that nobody asked for, and the same data with the sentences that ask for them.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { formatTable } from '../../dsl/text/table.ts';
import { AtomicFile, writeFileAtomic } from '../../runtime/files/atomic-file.ts';
import { passingSamples, readSample } from '../train/data/llava-file.ts';
import type { ResponseFormat } from '../train/data/response-formats.ts';
import { answerKind, asksHow, formatsOf, missingSentence, type AnswerKind } from './answer-machine.ts';
import { valueOf } from './balance.ts';
import { refuseImages } from './data-inputs.ts';
import { isMix, readMix, type Mix } from './read-mix.ts';
import { requireOptions, requirePath } from '../../dsl/graph/required.ts';
import { checkFolder } from '../../runtime/files/make-folder.ts';

export interface PromptsOptions {
  /** Folder of the pictures of a single file; by default the file's. */
  readonly images?: string | undefined;
  /** A field of each sample that names its source, for a single file. */
  readonly by?: string | undefined;
  /** A folder, not there yet, for the fixed set: files that change, and a mixture of all. */
  readonly out?: string | undefined;
}

export interface SourcePrompts {
  readonly name: string;
  readonly questions: number;
  /** Questions with a short answer, and those of them that do not ask for one. */
  readonly short: number;
  readonly unasked: number;
  /** Questions that get a sentence in the fixed set. */
  readonly missing: number;
  readonly answers: Readonly<Record<AnswerKind, number>>;
  /** What the fixed set asks with. */
  readonly formats: readonly ResponseFormat[];
  /** Whether a model would learn to answer shortly always: 5 % of the questions and more. */
  readonly isMachine: boolean;
}

export interface PromptsReport {
  readonly sources: readonly SourcePrompts[];
  readonly out: string | undefined;
}

/** Share of short answers unasked for from which a source is reported. */
const tolerated = 0.05;

/**
 * Files go by and are not held. Throws `OpabiniaError` for a line that is wrong and an output that is there; nothing is written then.
 * @example const { sources } = checkPrompts('mix.json')
 */
export function checkPrompts(path: string, options: PromptsOptions = {}): PromptsReport {
  requirePath('checkPrompts', path, 'the data', "checkPrompts('mix.json')");
  requireOptions('checkPrompts', options, "{ out: 'fixed' }");
  if (isMix(path)) {
    refuseImages(path, options.images);
    if (options.by !== undefined)
      throw new OpabiniaError(`${path} says what its sources are, and so does --by ${options.by}`, {
        op: 'data',
        advice: 'leave --by away, or say `by` in the mixture',
      });
  }
  if (options.out !== undefined) checkOut(options.out);
  const mix = isMix(path) ? readMix(path) : singleFile(path, options);
  const sources: SourcePrompts[] = [];
  const formats = new Map<string, readonly ResponseFormat[]>();
  for (const [k, source] of mix.sources.entries()) {
    for (const one of surveyed(source)) {
      sources.push(one);
      formats.set(keyOf(k, one.name), one.formats);
    }
  }
  if (options.out !== undefined) writeFixed(mix, sources, formats, options.out);
  return { sources, out: options.out };
}

function singleFile(path: string, { images, by }: PromptsOptions): Mix {
  const one = { name: basename(path), file: resolve(path), images: resolve(images ?? dirname(path)), by };
  return {
    path,
    cap: undefined,
    shares: undefined,
    total: undefined,
    sources: [{ ...one, count: undefined, category: undefined, cap: undefined, format: undefined }],
  };
}

const keyOf = (source: number, name: string): string => `${source} ${name}`;

interface Asked {
  readonly question: string;
  readonly answer: string;
  /** Of the question, among `conversations`. */
  readonly at: number;
}

/** Questions with their answers. Throws `OpabiniaError` for a sample that has another shape. */
function askedIn(json: unknown, path: string, where: string): readonly Asked[] {
  const { turns } = readSample(json, path, where);
  const said = (json as { readonly conversations: readonly { readonly value: string }[] }).conversations;
  const dropped = said.length - turns.length;
  return turns.flatMap(({ role }, i) => {
    const answer = turns[i + 1];
    if (role !== 'user' || answer === undefined) return [];
    return [{ question: said[i + dropped]?.value ?? '', answer: answer.text, at: i + dropped }];
  });
}

type MixSource = Mix['sources'][number];

interface Tally {
  questions: number;
  short: number;
  unasked: number;
  /** Questions that do not say how to answer, whatever the answer. */
  silent: number;
  readonly answers: Record<AnswerKind, number>;
}

function surveyed(source: MixSource): readonly SourcePrompts[] {
  const { file } = source;
  if (file === undefined)
    throw new OpabiniaError(`'${source.name}' is a count without a file`, { op: 'data', advice: 'give its file' });
  const tallies = new Map<string, Tally>();
  for (const { json, where, error } of passingSamples(file)) {
    if (error !== undefined) throw error;
    const name = source.by === undefined ? source.name : valueOf(json, source.by, file, where);
    const tally = tallies.get(name) ?? {
      questions: 0,
      short: 0,
      unasked: 0,
      silent: 0,
      answers: { letter: 0, number: 0, unanswerable: 0, 'no answer': 0, phrase: 0, long: 0 },
    };
    tallies.set(name, tally);
    for (const { question, answer } of askedIn(json, file, where)) {
      const kind = answerKind(answer);
      tally.questions++;
      tally.answers[kind]++;
      const asks = asksHow(source.format === undefined ? question : `${question}\n${source.format}`);
      if (!asks) tally.silent++;
      if (kind === 'long') continue;
      tally.short++;
      if (!asks) tally.unasked++;
    }
  }
  return [...tallies].map(([name, { silent, ...tally }]) => {
    const formats = formatsOf(name, tally.answers);
    const isLong = formats.includes('html') || formats.includes('reasoning');
    return {
      name,
      ...tally,
      missing: isLong ? silent : tally.unasked,
      formats,
      isMachine: tally.unasked > 0 && tally.unasked >= tolerated * tally.questions,
    };
  });
}

function checkOut(out: string): void {
  if (existsSync(out))
    throw new OpabiniaError(`${out} exists`, { op: 'data', advice: 'give a folder that does not exist yet' });
  if (!existsSync(dirname(resolve(out))))
    throw new OpabiniaError(`there is no directory ${dirname(resolve(out))}`, { op: 'data', advice: 'make it first' });
  checkFolder(out, 'data');
}

/** The folder is there whole, or not at all. */
function writeFixed(
  mix: Mix,
  sources: readonly SourcePrompts[],
  formats: ReadonlyMap<string, readonly ResponseFormat[]>,
  out: string,
): void {
  const place = resolve(out);
  const beside = join(dirname(place), `.${basename(place).slice(0, 100)}.${randomBytes(6).toString('hex')}.partial`);
  mkdirSync(beside);
  try {
    const needs = new Set(sources.filter(({ missing }) => missing > 0).map(({ name }) => name));
    const mixture = mix.sources.map((source, k) => {
      const { file = '', name, images, category, cap, format, by } = source;
      const changes = by !== undefined || needs.has(name);
      const own = `${k}-${basename(file).replace(/\.jsonl?$/, '')}.jsonl`;
      if (changes) writeSource(source, k, formats, join(beside, own));
      const from = (path: string): string => relative(place, path) || '.';
      return { name, file: changes ? own : from(file), images: from(images), category, cap, format, by };
    });
    const { cap, shares, total } = mix;
    writeFileAtomic(join(beside, 'mix.json'), `${JSON.stringify({ mixture, cap, shares, total }, null, 2)}\n`, {
      op: 'data',
    });
    checkOut(out);
    renameSync(beside, place);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
}

function writeSource(
  source: MixSource,
  k: number,
  formats: ReadonlyMap<string, readonly ResponseFormat[]>,
  path: string,
): void {
  const { file = '', by, name, format } = source;
  const written = new AtomicFile(path, { op: 'data', inputs: [file] });
  try {
    for (const { json, where, error } of passingSamples(file)) {
      if (error !== undefined) throw error;
      const own = formats.get(keyOf(k, by === undefined ? name : valueOf(json, by, file, where))) ?? [];
      const sentences = new Map(
        askedIn(json, file, where).flatMap(({ question, answer, at }) => {
          const asked = format === undefined ? question : `${question}\n${format}`;
          const sentence = missingSentence(asked, answer, own);
          return sentence === undefined ? [] : [[at, sentence] as const];
        }),
      );
      const sample = json as { readonly conversations: readonly { readonly value: string }[] };
      const conversations = sample.conversations.map((turn, at) => {
        const sentence = sentences.get(at);
        return sentence === undefined ? turn : { ...turn, value: `${turn.value}\n${sentence}` };
      });
      written.write(`${JSON.stringify({ ...sample, conversations })}\n`);
    }
    written.commit();
  } catch (error) {
    written.abort();
    throw error;
  }
}

/** By source: short answers, how many nobody asked for, and what asks for them. */
export function printPrompts({ sources, out }: PromptsReport): string {
  const share = (part: number, whole: number): string => (whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`);
  const table = formatTable(
    [
      { title: 'source' },
      { title: 'questions', align: 'right' },
      { title: 'short answers', align: 'right' },
      { title: 'not asked for', align: 'right' },
      { title: 'sentences' },
    ],
    sources.map(({ name, questions, short, unasked, missing, formats }) => [
      name,
      questions.toLocaleString('en'),
      share(short, questions),
      share(unasked, questions),
      missing === 0 ? '' : formats.join(' or '),
    ]),
  );
  const machines = sources.filter(({ isMachine }) => isMachine);
  const lines = machines.map(
    ({ name, unasked, questions }) =>
      `✗ ${name}: ${unasked.toLocaleString('en')} of ${questions.toLocaleString('en')} questions ${unasked === 1 ? 'has' : 'have'} a short answer and ${unasked === 1 ? 'does' : 'do'} not ask for it`,
  );
  if (machines.length === 0) lines.push('✓ short answers are asked for');
  if (out !== undefined)
    lines.push(`written: ${join(out, 'mix.json')}${machines.length === 0 ? '' : ', in which they ask for it'}`);
  return [table, '', ...lines].join('\n');
}
