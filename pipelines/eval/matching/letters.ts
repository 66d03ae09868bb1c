// What Cambrian-1's evaluation takes an answer to a question with options for (its `extract_mcq_answer` and relatives), faults
// included: a score is only comparable if it is counted alike.
import { firstCharacter, strip, stripLeft, stripRight, words } from './python-text.ts';

/** In this order, each on what the one before left: "answer is: (a)" is cut at "answer is" and begins with a colon. */
const keywords = ['answer is', 'answer is:', 'answer:'];

/** The text in small letters behind the last keyword, stripped. */
export function afterKeywords(answer: string): string {
  let text = strip(answer.toLowerCase());
  for (const keyword of keywords) {
    const at = text.lastIndexOf(keyword);
    if (at >= 0) text = text.slice(at + keyword.length);
  }
  return strip(text);
}

/** The text behind the keywords without `trailing` at its end and parentheses around it: a letter, or an option's own text. */
export function optionOf(answer: string, trailing: string): string {
  return stripRight(stripLeft(stripRight(afterKeywords(answer), trailing), '('), ')');
}

/** The first character of that: "(B) left", "b." and "B: right" are all b, and so is "blue". */
export function letterOf(answer: string, trailing: string): string {
  return firstCharacter(optionOf(answer, trailing));
}

/** The text behind the keywords without full stops at its end. */
export function phraseOf(answer: string): string {
  return stripRight(afterKeywords(answer), '.');
}

/** The first word of that; undefined where there is none (the original ends with IndexError). */
export function firstWordOf(answer: string): string | undefined {
  return words(phraseOf(answer))[0];
}

/** The first word in small letters without `.`, `:`, `,` at its end (POPE, MMStar, MMBench in Chinese); undefined where there is none. */
export function plainWordOf(answer: string): string | undefined {
  const word = words(answer.toLowerCase())[0];
  return word === undefined ? undefined : stripRight(word, '.:,');
}

/** `a` of a gold answer "(A)": its second character. */
export function goldLetter(answer: string): string {
  return answer.toLowerCase().charAt(1);
}

/** A, B, … of an option's place. */
export function letterAt(place: number): string {
  return String.fromCharCode(65 + place);
}
