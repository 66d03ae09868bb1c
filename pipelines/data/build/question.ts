// What the endpoint is asked about a figure, and what is taken of its answer.
import { z } from 'zod';
import type { Figure } from './figures.ts';
import type { OpenField } from './topics.ts';

export interface QuestionAnswer {
  readonly question: string;
  readonly answer: string;
}

/** Part of a journal's key: another wording is another build. */
export const wording = 1;

export const questionSystem =
  'You write training data for a model that sees pictures. Given the caption of a figure and the text around it, write one question that a person who sees only the figure could ask, and its answer, supported by the caption or the text. Do not mention the caption or the text. Reply with one JSON object: {"question": "…", "answer": "…"}';

const most = { text: 6000, caption: 1000, question: 2000, answer: 8000 } as const;

export function questionPrompt({ caption, text, section }: Figure, title: string): string {
  return `Page: ${title}\nSection: ${section}\nCaption: ${caption.slice(0, most.caption)}\nText: ${text.slice(0, most.text)}`;
}

const schema = z.looseObject({ question: z.string(), answer: z.string() });

/** Question and answer, as JSON wherever it stands in the reply, or behind `Question:` and `Answer:`; or why there is none. */
export function readReply(reply: string): QuestionAnswer | string {
  const pair = asJson(reply) ?? asLines(reply);
  if (pair === undefined) return `no question and answer in '${reply.slice(0, 80)}'`;
  const { question, answer } = { question: pair.question.trim(), answer: pair.answer.trim() };
  if (question === '' || answer === '') return 'an empty question or answer';
  if (question.length > most.question || answer.length > most.answer) return 'a question or an answer that is too long';
  // It would be read as a place of a picture.
  if (`${question}${answer}`.includes('<image>')) return 'an <image> of its own';
  return { question, answer };
}

function asJson(reply: string): QuestionAnswer | undefined {
  const [start, end] = [reply.indexOf('{'), reply.lastIndexOf('}')];
  if (start < 0 || end < start) return undefined;
  try {
    const found = schema.safeParse(JSON.parse(reply.slice(start, end + 1)));
    return found.success ? found.data : undefined;
  } catch {
    return undefined;
  }
}

function asLines(reply: string): QuestionAnswer | undefined {
  const question = /^\W*(?:question|q)\W*:\W*(.+)$/im.exec(reply)?.[1];
  const answer = /^\W*(?:answer|a)\W*:\s*([^]+)$/im.exec(reply)?.[1];
  return question === undefined || answer === undefined ? undefined : { question, answer };
}

export const topicsSystem =
  'You list topics of a field of study that an encyclopedia has pages with figures of. Reply with one JSON array of 20 strings, and nothing else.';

export function topicsPrompt({ field, subfield }: OpenField): string {
  return `Field: ${field}\nSubfield: ${subfield}`;
}

/** Topics, each once; `/` would be a folder in names, and is `or`. Or why there are none. */
export function readTopicsReply(reply: string): readonly string[] | string {
  const [start, end] = [reply.indexOf('['), reply.lastIndexOf(']')];
  try {
    const found = z
      .array(z.string())
      .min(1)
      .max(200)
      .safeParse(JSON.parse(reply.slice(start, end + 1)));
    if (found.success)
      return [...new Set(found.data.map((one) => one.replaceAll('/', ' or ').trim()))].filter((one) => one !== '');
  } catch {
    // Told below.
  }
  return `no list of topics in '${reply.slice(0, 80)}'`;
}
