// The targeted data engine (Cambrian-1, §5.1, appendix): topics → pages → figures → questions and answers → a LLaVA file with its pictures.
import { existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import { contentKey } from '../../../runtime/files/content-key.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { Endpoint, RefusedError, type EndpointOptions } from './endpoint.ts';
import { openFigureReader, type Figure, type FigureReader } from './figures.ts';
import { PageFinder } from './find-pages.ts';
import { Journal } from './journal.ts';
import { checkPages, pagesOf } from './pages.ts';
import { asPng, findPicture } from './pictures.ts';
import {
  questionPrompt,
  questionSystem,
  readReply,
  readTopicsReply,
  topicsPrompt,
  topicsSystem,
  wording,
  type QuestionAnswer,
} from './question.ts';
import { readTopics, type Topic } from './topics.ts';
import { requireFields } from '../../../dsl/graph/required.ts';
import { makeFolder, checkFolder } from '../../../runtime/files/make-folder.ts';
import { plural } from '../../../dsl/text/plural.ts';

export interface BuildOptions {
  /** A file of topics. */
  readonly topics: string;
  /** A MediaWiki dump (.xml; .bz2, .gz and .zst of it), or a folder of wikitext. */
  readonly pages: string;
  /** Folder of the figures' files: nothing is fetched. */
  readonly images: string;
  readonly endpoint: Omit<EndpointOptions, 'signal'>;
  /** A folder of its own; the same build goes on in it. */
  readonly out: string;
  /** Each figure is sent with its question: models that look for a picture refuse words alone. */
  readonly show?: boolean | undefined;
  /** Pages that a topic means at most; default 3. */
  readonly pagesPerTopic?: number | undefined;
  /** Questions asked at once; default 4. */
  readonly concurrency?: number | undefined;
  /** Figures at most. */
  readonly limit?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly print: (line: string) => void;
}

export interface Built {
  /** `data.jsonl` and `images/` are in it; undefined where it was stopped. */
  readonly set: string | undefined;
  readonly samples: number;
  readonly counts: Readonly<Record<BuildCount, number>>;
  /** Of the first reply of no use. */
  readonly reason: string | undefined;
}

export type BuildCount =
  | 'topics'
  | 'topics without a page'
  | 'pages'
  | 'figures'
  | 'figures without a file'
  | 'pictures that do not decode'
  | 'asked now'
  | 'replies of no use';

interface Tally {
  readonly counts: Record<BuildCount, number>;
  reason: string | undefined;
}

interface Item extends Figure {
  readonly topic: Topic;
  readonly title: string;
  /** Where its picture is. */
  readonly path: string;
}

/**
 * Throws `OpabiniaError` before anything is written for topics, pages or a library that are not there; later where the endpoint does not
 * answer, and the same call goes on then. The set is there whole, or not at all.
 * @example await buildData({ ...options, topics: 'topics.txt', pages: 'dump.xml', out: 'set.jsonl' })
 */
export async function buildData(options: BuildOptions): Promise<Built> {
  requireFields(
    'buildData',
    options,
    { topics: 'string', pages: 'string', images: 'string', endpoint: 'object', out: 'string', print: 'function' },
    "buildData({ topics: 'topics.txt', pages: 'dump.xml', images: 'figures', endpoint, out: 'set', print: console.log })",
  );
  const { print, out, images } = options;
  checkFolder(out, 'data');
  const { topics, open } = readTopics(options.topics);
  checkPages(options.pages);
  if (!existsSync(images))
    throw new OpabiniaError(`there is no folder of pictures ${images}`, { op: 'data', advice: 'check --images' });
  const endpoint = new Endpoint({ ...options.endpoint, signal: options.signal });
  const figures = await openFigureReader();
  const journal = new Journal(out, settingsOf(options));
  try {
    const counts = emptyCounts();
    const tally: Tally = { counts, reason: undefined };
    const all = [...topics];
    for (const field of open) {
      const names = await asked<readonly string[]>(journal, tally, ['topics', field.field, field.subfield], async () =>
        readTopicsReply(await endpoint.ask(topicsSystem, topicsPrompt(field))),
      );
      for (const topic of names ?? []) if (!all.some((one) => one.topic === topic)) all.push({ topic, ...field });
    }
    counts.topics = all.length;
    await findPages(journal, all, options);
    const items = itemsOf(journal, figures, all, options, counts);
    print(
      `${plural(counts.topics, 'topic')}, ${plural(counts.pages, 'page')}, ${plural(items.length, 'figure')} with files`,
    );
    const pairs = await askAll(journal, endpoint, items, options, tally);
    if (pairs === undefined) return { set: undefined, samples: 0, ...tally };
    const samples = await writeSet(out, items, pairs, counts);
    return { set: join(out, 'set'), samples, ...tally };
  } finally {
    journal.close();
  }
}

function emptyCounts(): Record<BuildCount, number> {
  return {
    topics: 0,
    'topics without a page': 0,
    pages: 0,
    figures: 0,
    'figures without a file': 0,
    'pictures that do not decode': 0,
    'asked now': 0,
    'replies of no use': 0,
  };
}

function settingsOf({ topics, pages, endpoint, pagesPerTopic = 3, show }: BuildOptions): string {
  const { size, mtimeMs } = statSync(pages);
  return JSON.stringify({
    topics: contentKey([], [topics]).slice(0, 16),
    pages: resolve(pages),
    stamp: [size, Math.trunc(mtimeMs)],
    model: endpoint.model,
    pagesPerTopic,
    wording,
    // Left out of the JSON where it is undefined: builds from before go on.
    show: show === true ? true : undefined,
  });
}

/** What was made of a reply that the journal has, or of one that is asked for now. */
async function asked<T>(
  journal: Journal,
  tally: Tally,
  key: readonly string[],
  ask: () => Promise<T | string>,
): Promise<T | undefined> {
  const name = contentKey(key);
  let reply = journal.reply(name);
  if (reply === undefined) {
    let made: T | string;
    try {
      made = await ask();
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      made = error.what;
    }
    tally.counts['asked now']++;
    reply =
      typeof made === 'string'
        ? { value: undefined, reason: made }
        : { value: JSON.stringify(made), reason: undefined };
    journal.keepReply(name, reply);
  }
  if (reply.value !== undefined) return JSON.parse(reply.value) as T;
  tally.counts['replies of no use']++;
  tally.reason ??= reply.reason;
  return undefined;
}

/** Pages go by once, and once more where a page leads to one that went by before. */
async function findPages(journal: Journal, topics: readonly Topic[], options: BuildOptions): Promise<void> {
  if (journal.fact('pages') === 'found') return;
  const finder = new PageFinder(topics, options.pagesPerTopic ?? 3);
  await journal.transaction(async () => {
    do {
      let seen = 0;
      for await (const page of pagesOf(options.pages)) {
        options.signal?.throwIfAborted();
        if (finder.see(page)) journal.keepPage(page.title, page.text);
        if (++seen % 100_000 === 0) options.print(`${seen.toLocaleString('en')} pages went by`);
      }
    } while (finder.isBehind);
    journal.keepMatches(topics.flatMap(({ topic }) => finder.matches(topic)));
    journal.setFact('pages', 'found');
  });
}

/** Figures of the pages, each file with a caption once, that have their file. */
function itemsOf(
  journal: Journal,
  figures: FigureReader,
  topics: readonly Topic[],
  { images, limit = Infinity }: BuildOptions,
  counts: Record<BuildCount, number>,
): readonly Item[] {
  const items = new Map<string, Item>();
  const read = new Set<string>();
  for (const topic of topics) {
    const titles = journal.titles(topic.topic);
    if (titles.length === 0) counts['topics without a page']++;
    for (const title of titles) {
      if (read.has(title) || items.size >= limit) continue;
      read.add(title);
      counts.pages++;
      for (const figure of figures(journal.page(title) ?? '', title)) {
        counts.figures++;
        const path = findPicture(images, figure.file);
        if (path === undefined) counts['figures without a file']++;
        else if (items.size < limit) {
          const key = `${figure.file}\n${figure.caption}`;
          if (!items.has(key)) items.set(key, { ...figure, topic, title, path });
        }
      }
    }
  }
  return [...items.values()];
}

/** Undefined where it was stopped. */
async function askAll(
  journal: Journal,
  endpoint: Endpoint,
  items: readonly Item[],
  { concurrency = 4, show, signal, print }: BuildOptions,
  tally: Tally,
): Promise<readonly (QuestionAnswer | undefined)[] | undefined> {
  const pairs: (QuestionAnswer | undefined)[] = items.map(() => undefined);
  let [next, done] = [0, 0];
  const failed = new AbortController();
  const work = async (): Promise<void> => {
    while (next < items.length && signal?.aborted !== true && !failed.signal.aborted) {
      const at = next++;
      const item = items[at];
      if (item === undefined) return;
      const prompt = questionPrompt(item, item.title);
      pairs[at] = await asked<QuestionAnswer>(journal, tally, ['question', item.file, prompt], async () =>
        readReply(await endpoint.ask(questionSystem, prompt, show === true ? await shownPng(item.path) : undefined)),
      );
      if (++done % 100 === 0) print(`${done} of ${plural(items.length, 'figure')} asked about`);
    }
  };
  try {
    // What one cannot do, the others need not try; what they have begun is kept.
    const ends = await Promise.allSettled(
      Array.from({ length: Math.max(1, concurrency) }, () =>
        work().catch((error: unknown) => {
          failed.abort();
          throw error;
        }),
      ),
    );
    const lost = ends.find((end) => end.status === 'rejected');
    if (lost !== undefined && signal?.aborted !== true) throw lost.reason;
  } finally {
    failed.abort();
  }
  return signal?.aborted === true ? undefined : pairs;
}

/** Throws `RefusedError` for a picture that does not decode: the others are asked about. */
async function shownPng(path: string): Promise<Buffer> {
  try {
    return await asPng(path);
  } catch (error) {
    throw error instanceof OpabiniaError ? new RefusedError(error.what, { op: 'data', cause: error }) : error;
  }
}

/** `set/` beside the journal: made whole, then given its name. Gives the number of samples. */
async function writeSet(
  out: string,
  items: readonly Item[],
  pairs: readonly (QuestionAnswer | undefined)[],
  counts: Record<BuildCount, number>,
): Promise<number> {
  const [place, beside, old] = ['set', '.set.partial', '.set.old'].map((name) => join(out, name)) as [
    string,
    string,
    string,
  ];
  rmSync(beside, { recursive: true, force: true });
  makeFolder(join(beside, 'images'));
  const lines: string[] = [];
  for (const [i, item] of items.entries()) {
    const pair = pairs[i];
    if (pair === undefined) continue;
    let png: Buffer;
    try {
      png = await asPng(item.path);
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      counts['pictures that do not decode']++;
      continue;
    }
    const number = String(lines.length + 1).padStart(6, '0');
    writeFileSync(join(beside, 'images', `${number}.png`), png);
    const { topic, title, section, file, caption } = item;
    lines.push(
      JSON.stringify({
        id: `engine-${number}`,
        image: `${number}.png`,
        conversations: [
          { from: 'human', value: `<image>\n${pair.question}` },
          { from: 'gpt', value: pair.answer },
        ],
        source: 'data-engine',
        ...topic,
        page: title,
        section,
        file,
        caption,
      }),
    );
  }
  writeFileAtomic(join(beside, 'data.jsonl'), lines.map((line) => `${line}\n`).join(''), { op: 'data' });
  rmSync(old, { recursive: true, force: true });
  if (existsSync(place)) renameSync(place, old);
  renameSync(beside, place);
  rmSync(old, { recursive: true, force: true });
  return lines.length;
}

/** `figures without a file` of one. */
function singular(name: string): string {
  return name
    .replace('replies', 'reply')
    .replace(/^(\w+)s\b/, '$1')
    .replace('that do ', 'that does ');
}

/** What was made of what, and what fell out on the way. */
export function printBuilt({ set, samples, counts, reason }: Built): string {
  const told = Object.entries(counts).flatMap(([name, count]) =>
    count === 0 ? [] : [`${count.toLocaleString('en')} ${count === 1 ? singular(name) : name}`],
  );
  return [
    told.join(', '),
    ...(reason === undefined ? [] : [`of no use: ${reason}`]),
    set === undefined
      ? 'stopped: the same command goes on'
      : `${samples.toLocaleString('en')} ${samples === 1 ? 'sample' : 'samples'} in ${join(set, 'data.jsonl')}, pictures in ${join(set, 'images')}`,
  ].join('\n');
}
