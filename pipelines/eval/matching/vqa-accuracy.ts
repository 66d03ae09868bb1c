// The soft accuracy of VQA against ten human answers, with the normalization of EvalAI (as in MMF's `m4c_evaluator`).
import type { Grade } from '../benchmark.ts';
import { strip, words } from './python-text.ts';

const numerals = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'];
const numeralOf = new Map([['none', '0'], ...numerals.map((word, value) => [word, String(value)] as const)]);
const articles = new Set(['a', 'an', 'the']);
const punctuation = ';/[]"{}()=+\\_-><@`,?!';

/** Each stands for its spellings with one apostrophe left out. */
const contractions =
  "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd " +
  "how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't " +
  "'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll " +
  "someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're " +
  "they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll " +
  "who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've";

const spelled = new Map<string, string>([
  ...contractions
    .split(' ')
    .flatMap((word) =>
      [...word.matchAll(/'/g)].map(({ index }) => [word.slice(0, index) + word.slice(index + 1), word] as const),
    ),
  // Backwards in the original.
  ["somebody'd", 'somebodyd'],
]);

/** What two answers are compared by. */
export function normalizeAnswer(answer: string): string {
  const plain = strip(answer.toLowerCase().replaceAll(',', '').replaceAll('?', '').replaceAll("'s", " 's"));
  return withoutArticles(withoutPunctuation(strip(plain.replaceAll('\n', ' ').replaceAll('\t', ' '))));
}

function withoutPunctuation(text: string): string {
  const hasThousands = /\p{Nd},+\p{Nd}/u.test(text);
  let out = text;
  for (const mark of punctuation) {
    const isApart = text.includes(`${mark} `) || text.includes(` ${mark}`) || hasThousands;
    out = out.replaceAll(mark, isApart ? '' : ' ');
  }
  // The original gives the flag re.UNICODE, which is 32, in the place of the count.
  let left = 32;
  return out.replace(/\.(?!\p{Nd})/gu, (point) => (left-- > 0 ? '' : point));
}

function withoutArticles(text: string): string {
  return words(text.toLowerCase())
    .map((word) => numeralOf.get(word) ?? word)
    .filter((word) => !articles.has(word))
    .map((word) => spelled.get(word) ?? word)
    .join(' ');
}

/** The mean over the people left out one at a time of min(1, how many of the others gave this answer / 3). */
export function vqaAccuracy(answer: string, people: readonly string[]): number {
  if (people.length === 0) return 0;
  const own = normalizeAnswer(answer);
  const same = people.map((other) => normalizeAnswer(other) === own);
  const all = same.filter(Boolean).length;
  if (all === 0) return 0;
  const scores = same.map((isSame) => Math.min(1, (all - (isSame ? 1 : 0)) / 3));
  return scores.reduce((sum, score) => sum + score, 0) / people.length;
}

/** The same without regard to capitals, as benchmarks grade it; undefined where people's answers are not there. */
export function gradeVqa(answer: string, people: unknown): Grade | undefined {
  if (!Array.isArray(people)) return undefined;
  const others = people.map((one: string) => one.toLowerCase());
  return { score: vqaAccuracy(answer.toLowerCase(), others), parsed: normalizeAnswer(answer) };
}
