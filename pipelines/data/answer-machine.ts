// The answer machine (Cambrian-1, §5.3): short answers that nobody asked for teach a model to answer shortly always. What is short, and what asks for it.
import { formatsBySource, responseFormats, type ResponseFormat } from '../train/data/response-formats.ts';

/** Words of a short answer, at most: a word or phrase, a number, a letter, a name. */
const shortWords = 5;

export type AnswerKind = 'letter' | 'number' | 'unanswerable' | 'no answer' | 'phrase' | 'long';

export function answerKind(answer: string): AnswerKind {
  const text = answer.trim();
  if (/^\(?[A-Z]\)?[.:]?$/.test(text)) return 'letter';
  if (/^[-+−$€£]?\s*[\d,]*\.?\d+\s*%?\.?$/.test(text)) return 'number';
  if (/^unanswerable\.?$/i.test(text)) return 'unanswerable';
  if (/^<no answer>\.?$/i.test(text)) return 'no answer';
  const words = text.split(/\s+/).filter((word) => word !== '').length;
  // A sentence that ends as one is an answer of its own, however short.
  return words <= shortWords && !(words > 2 && /[.!?]$/.test(text)) ? 'phrase' : 'long';
}

const known: readonly string[] = Object.values(responseFormats);
const asking =
  /\b(?:(?:single|one) (?:word|number|phrase|letter)|(?:word|number) or phrase|short answer|answer (?:briefly|shortly|concisely)|option['’]?s letter|only the letter|letter of the correct|answer with|answer directly|respond with|yes or no[.)]|directly provide|reasoning process)/i;

/** Whether a question says how to answer. */
export function asksHow(question: string): boolean {
  return known.some((sentence) => question.includes(sentence)) || asking.test(question);
}

/** What is known of a source's answers: how many of each kind. */
export type AnswerCounts = Readonly<Record<AnswerKind, number>>;

/** The formats of a source: published ones where its name is known, else by what its answers are. */
export function formatsOf(name: string, answers: AnswerCounts): readonly ResponseFormat[] {
  const published = publishedFormats(name);
  if (published !== undefined) return published;
  const short = answers.letter + answers.number + answers.phrase;
  if (answers.unanswerable > 0) return ['unanswerable', 'option'];
  if (answers['no answer'] > 0) return ['noAnswer', 'phrase', 'option'];
  return [2 * answers.number > short ? 'number' : 'phrase', 'option', 'letter'];
}

/** Those of the source whose name the file's or source's name holds, as words go. */
export function publishedFormats(name: string): readonly ResponseFormat[] | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  const base = name.split(/[/\\]/).at(-1) ?? name;
  const parts = new Set([
    plain(base.replace(/\.\w+$/, '')),
    ...base.split(/[_\s.]+|-(?=\d)/).map(plain),
    ...base.split(/[^A-Za-z0-9]+/).map(plain),
  ]);
  const found = Object.keys(formatsBySource).find((source) => parts.has(plain(source)));
  return found === undefined ? undefined : formatsBySource[found];
}

/** Sources whose answers are long, and are asked for by a sentence all the same. */
const ofLong: readonly ResponseFormat[] = ['html', 'reasoning'];

/** The sentence that a question lacks, or undefined where it says how to answer, or its answer is what anybody would give. */
export function missingSentence(
  question: string,
  answer: string,
  formats: readonly ResponseFormat[],
): string | undefined {
  if (asksHow(question)) return undefined;
  const kind = answerKind(answer);
  const always = formats.find((format) => ofLong.includes(format));
  if (always !== undefined) return responseFormats[always];
  if (kind === 'long') return undefined;
  if (kind === 'letter') {
    const isListed = /(?:^|\n|\s)\(?A[.):]\s/.test(question);
    const own = formats.filter((format) => format === 'option' || format === 'letter');
    if (own.length > 0) {
      const wanted = isListed ? 'option' : 'letter';
      return responseFormats[own.includes(wanted) ? wanted : (own[0] ?? 'letter')];
    }
  }
  const rest = formats.filter((format) => format !== 'option' && format !== 'letter');
  if (rest.length === 0) return responseFormats.phrase;
  return rest
    .toSorted((a, b) => Number(b === 'noAnswer') - Number(a === 'noAnswer'))
    .map((format) => responseFormats[format])
    .join(' ');
}
