// Every line, every picture, every label of a data set, as training would take them: what is wrong, how often, and where first.
import { join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { formatTable } from '../../dsl/text/table.ts';
import { ignoredLabel } from '../../models/sequence/collate.ts';
import { decodeImage } from '../../runtime/image/image.ts';
import { labelCounts, sampleLabels, type LabelRules } from '../train/label-rules.ts';
import type { LlavaSample } from '../train/data/llava-file.ts';
import { chosenSamples } from '../train/data/mixture.ts';
import type { DataInput } from './data-inputs.ts';
import { requireFields, requireList, requireOptions } from '../../dsl/graph/required.ts';
import { plural } from '../../dsl/text/plural.ts';

/** What may be wrong with a sample; training replaces it by the first one, or learns what nobody meant. */
export const problems = {
  line: 'does not parse, or has another shape',
  'no answer': 'has no answer to learn',
  'image missing': 'names a picture that is not there or does not decode',
  'image not shown': 'has a picture, and no turn has <image>',
  'image not given': 'has <image> in a turn, and no picture',
  'labels masked':
    'has no label: a token runs over the border of question and answer, or an image stands in a later turn',
  'labels cut': 'has no label within the length of a sequence',
  'labels wrong': 'has labels that are not its answers',
} as const;
export type Problem = keyof typeof problems;

/** What is worth knowing, and nothing to mend. */
export const remarks = { 'answers cut': 'loses a part of its answers behind the length of a sequence' } as const;
export type Remark = keyof typeof remarks;

export interface Found {
  readonly count: number;
  /** The first ones: file, line, and what is wrong there. */
  readonly first: readonly string[];
}

export interface DataReport {
  readonly sources: readonly { readonly name: string; readonly samples: number; readonly checked: number }[];
  readonly problems: Readonly<Partial<Record<Problem, Found>>>;
  readonly remarks: Readonly<Partial<Record<Remark, Found>>>;
  /** Samples with a problem. */
  readonly wrong: number;
  readonly pictures: number;
  /** Labels that count and are left by the length; undefined where no model was given. */
  readonly labels: number | undefined;
}

export interface CheckOptions {
  /** The model that is to learn them, and the length of its sequences; without it labels are not looked at. */
  readonly rules?: LabelRules | undefined;
  readonly upright?: boolean | undefined;
  /** Samples of each source at most, drawn by seed; by default all. */
  readonly limit?: number | undefined;
  /** Told how many samples are done, now and then. */
  readonly progress?: ((done: number, of: number) => void) | undefined;
}

/** Examples of each problem, samples at once, and pictures whose verdict is remembered. */
const [shown, atOnce, remembered] = [5, 8, 20_000];

interface Verdict {
  readonly problem: Problem | Remark;
  readonly what: string;
}

/**
 * Nothing is written, and nothing thrown for a sample: what is wrong with it stands in the report.
 * @example const { wrong } = await checkData(openInputs('train.jsonl', 'pictures'))
 */
export async function checkData(inputs: readonly DataInput[], options: CheckOptions = {}): Promise<DataReport> {
  const call = "checkData(openInputs('train.jsonl', 'pictures'))";
  requireList('checkData', inputs, 'the inputs', call);
  for (const input of inputs) requireFields('checkData', input, { file: 'object' }, call, 'an input');
  requireOptions('checkData', options, '{ limit: 100 }');
  const found = new Map<Problem | Remark, { count: number; first: string[] }>();
  const checker = new Checker(options);
  let [wrong, done] = [0, 0];
  const counts = inputs.map(({ file }) => Math.min(file.count, options.limit ?? Infinity));
  const all = counts.reduce((sum, count) => sum + count, 0);
  for (const [k, input] of inputs.entries()) {
    const [count, { file }] = [counts[k] ?? 0, input];
    const chosen = count === file.count ? undefined : chosenSamples(file.count, count, 0, k);
    for (let start = 0; start < count; start += atOnce) {
      const indices = Array.from(
        { length: Math.min(atOnce, count - start) },
        (_, i) => chosen?.[start + i] ?? start + i,
      );
      const verdicts = await Promise.all(indices.map(async (index) => checker.check(input, index)));
      verdicts.forEach((own, i) => {
        if (own.some(({ problem }) => problem in problems)) wrong++;
        for (const { problem, what } of own) {
          const one = found.get(problem) ?? { count: 0, first: [] };
          found.set(problem, one);
          one.count++;
          if (one.first.length < shown)
            one.first.push(what.startsWith(file.path) ? what : `${file.where(indices[i] ?? 0)}: ${what}`);
        }
      });
      done += indices.length;
      if (done % 1024 < atOnce) options.progress?.(done, all);
    }
  }
  const of = (names: object): Readonly<Partial<Record<Problem | Remark, Found>>> =>
    Object.fromEntries([...found].filter(([name]) => name in names));
  return {
    sources: inputs.map(({ name, file }, k) => ({ name, samples: file.count, checked: counts[k] ?? 0 })),
    problems: of(problems),
    remarks: of(remarks),
    wrong,
    pictures: checker.pictures,
    labels: options.rules === undefined ? undefined : checker.labels,
  };
}

class Checker {
  readonly #options: CheckOptions;
  /** Why a picture cannot be read, or nothing. */
  readonly #seen = new Map<string, Promise<string | undefined>>();
  pictures = 0;
  labels = 0;

  constructor(options: CheckOptions) {
    this.#options = options;
  }

  async check({ file, images }: DataInput, index: number): Promise<readonly Verdict[]> {
    let sample: LlavaSample;
    try {
      sample = file.sample(index);
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      return [{ problem: 'line', what: error.what }];
    }
    const verdicts: Verdict[] = [];
    const isShown = sample.turns.some((turn) => (turn.images ?? 0) > 0);
    if (!sample.turns.some(({ role }) => role === 'assistant'))
      verdicts.push({ problem: 'no answer', what: `${plural(sample.turns.length, 'turn')}, none of gpt` });
    if (sample.image !== undefined && !isShown)
      verdicts.push({ problem: 'image not shown', what: `'${sample.image}' is in no turn` });
    if (sample.image === undefined && isShown)
      verdicts.push({ problem: 'image not given', what: 'a turn has <image>, and there is no image' });
    if (sample.image !== undefined) {
      const why = await this.#picture(join(images, sample.image));
      if (why !== undefined) verdicts.push({ problem: 'image missing', what: why });
    }
    return [...verdicts, ...(await this.#labels(sample))];
  }

  async #picture(path: string): Promise<string | undefined> {
    const before = this.#seen.get(path);
    if (before !== undefined) return before;
    const [oldest] = this.#seen.keys();
    if (this.#seen.size >= remembered && oldest !== undefined) this.#seen.delete(oldest);
    const verdict = this.#decoded(path);
    this.#seen.set(path, verdict);
    this.pictures++;
    return verdict;
  }

  async #decoded(path: string): Promise<string | undefined> {
    try {
      await decodeImage(path, { upright: this.#options.upright ?? false });
      return undefined;
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      return error.what;
    }
  }

  async #labels(sample: LlavaSample): Promise<readonly Verdict[]> {
    const { rules } = this.#options;
    const answers = sample.turns.filter(({ role }) => role === 'assistant');
    if (rules === undefined || answers.length === 0) return [];
    let labelled;
    try {
      labelled = await sampleLabels(sample, rules);
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      return [{ problem: 'labels wrong', what: error.what }];
    }
    const { all, left } = labelCounts(labelled, rules);
    this.labels += left;
    if (all === 0) return [{ problem: 'labels masked', what: `no label in ${plural(labelled.ids.length, 'token')}` }];
    const wrong = await difference(
      labelled.labels,
      answers.map(({ text }) => text),
      rules,
    );
    const verdicts: Verdict[] = wrong === undefined ? [] : [{ problem: 'labels wrong', what: wrong }];
    if (left === 0)
      verdicts.push({
        problem: 'labels cut',
        what: `${all === 1 ? 'the label lies' : `all ${all} labels lie`} behind the ${plural(rules.length, 'token')} of a sequence`,
      });
    else if (left < all)
      verdicts.push({
        problem: 'answers cut',
        what: `${all - left} of ${all} labels ${all - left === 1 ? 'lies' : 'lie'} behind the ${plural(rules.length, 'token')}`,
      });
    return verdicts;
  }
}

/** Where the labels are not exactly the answers, each with one token that ends it: they are read back as text. */
async function difference(
  labels: readonly number[],
  answers: readonly string[],
  { tokenizer }: LabelRules,
): Promise<string | undefined> {
  const runs: number[][] = [];
  labels.forEach((label, at) => {
    if (label === ignoredLabel) return;
    if (at === 0 || labels[at - 1] === ignoredLabel) runs.push([]);
    runs.at(-1)?.push(label);
  });
  if (runs.length !== answers.length)
    return `${plural(runs.length, 'run')} of labels for ${plural(answers.length, 'answer')}`;
  const texts = await tokenizer.decodeAll(runs.flatMap((run) => [run, run.slice(0, -1)]));
  for (const [i, answer] of answers.entries()) {
    const read = [texts[2 * i], texts[2 * i + 1]].map(plain);
    if (read.includes(plain(answer))) continue;
    // A tokenizer that changes what it reads (case, unknown characters) changes the answer by itself, too.
    const [own] = await tokenizer.decodeAll([
      await tokenizer.encode([{ kind: 'user', text: answer }], { automatic: false }),
    ]);
    if (!read.includes(plain(own)))
      return `answer ${i + 1} is '${short(answer)}', and its labels say '${short(texts[2 * i])}'`;
  }
  return undefined;
}

const plain = (text: string | undefined): string => (text ?? '').replaceAll(/\s+/g, ' ').trim();
const short = (text: string | undefined): string => plain(text).slice(0, 60);

/** A table of what is wrong, with the first places of each. */
export function printDataReport(report: DataReport): string {
  const { sources, wrong, pictures, labels } = report;
  const checked = sources.reduce((sum, one) => sum + one.checked, 0);
  const lines = [
    formatTable(
      [{ title: 'source' }, { title: 'samples', align: 'right' }, { title: 'checked', align: 'right' }],
      sources.map((one) => [one.name, one.samples.toLocaleString('en'), one.checked.toLocaleString('en')]),
    ),
    '',
  ];
  const all: readonly (readonly [name: string, text: string, found: Found | undefined])[] = [
    ...(Object.keys(problems) as readonly Problem[]).map(
      (name) => [`✗ ${name}`, problems[name], report.problems[name]] as const,
    ),
    ...(Object.keys(remarks) as readonly Remark[]).map(
      (name) => [`· ${name}`, remarks[name], report.remarks[name]] as const,
    ),
  ];
  for (const [name, text, found] of all) {
    if (found === undefined) continue;
    lines.push(
      `${name}, ${found.count.toLocaleString('en')}: a sample ${text}`,
      ...found.first.map((one) => `    ${one}`),
    );
  }
  const looked =
    labels === undefined
      ? 'labels not looked at: give --model'
      : `${labels.toLocaleString('en')} ${labels === 1 ? 'label' : 'labels'}`;
  lines.push(
    `${wrong === 0 ? '✓' : '✗'} ${wrong.toLocaleString('en')} of ${checked.toLocaleString('en')} ${checked === 1 ? 'sample' : 'samples'} wrong; ${pictures.toLocaleString('en')} ${pictures === 1 ? 'picture' : 'pictures'} decoded; ${looked}`,
  );
  return lines.join('\n');
}
