// Which pages a topic means: the one of its name, those that lead there, and those whose titles have all its words.
import type { Page } from './pages.ts';
import type { Topic } from './topics.ts';

/** A page that a topic means; 0 is the best. */
export interface Match {
  readonly topic: string;
  readonly title: string;
  readonly rank: number;
}

/** As titles are compared: small letters, no underscores, nothing in parentheses at the end. */
export function plainTitle(title: string): string {
  return title
    .normalize('NFKC')
    .toLowerCase()
    .replaceAll(/[_\s]+/g, ' ')
    .replace(/ \([^)]*\)$/, '')
    .trim();
}

const wordsOf = (title: string): readonly string[] => [...new Set(plainTitle(title).match(/[\p{L}\p{N}]+/gu) ?? [])];

/** Pages go by once; the best of each topic are kept by title. */
export class PageFinder {
  readonly #most: number;
  readonly #exact = new Map<string, string[]>();
  readonly #byWord = new Map<string, { readonly topic: string; readonly words: readonly string[] }[]>();
  readonly #best = new Map<string, Match[]>();
  /** Pages that others lead to, by their plain titles. */
  readonly #led = new Map<string, Set<string>>();
  readonly #met = new Set<string>();

  constructor(topics: readonly Topic[], pagesPerTopic: number) {
    this.#most = pagesPerTopic;
    for (const { topic } of topics) {
      const plain = plainTitle(topic);
      this.#exact.set(plain, [...(this.#exact.get(plain) ?? []), topic]);
      const words = wordsOf(topic);
      const longest = [...words].sort((a, b) => b.length - a.length)[0];
      if (longest !== undefined) this.#byWord.set(longest, [...(this.#byWord.get(longest) ?? []), { topic, words }]);
      this.#best.set(topic, []);
    }
  }

  /** Whether some topic wants the page as far as is known. */
  see({ title, redirect }: Page): boolean {
    const plain = plainTitle(title);
    const named = this.#exact.get(plain) ?? [];
    if (redirect !== undefined) {
      for (const topic of named) this.#lead(topic, plainTitle(redirect));
      return false;
    }
    this.#met.add(plain);
    const ranks = new Map<string, number>();
    for (const topic of [...named, ...(this.#led.get(plain) ?? [])]) ranks.set(topic, 0);
    const words = wordsOf(title);
    for (const word of words)
      for (const { topic, words: wanted } of this.#byWord.get(word) ?? [])
        if (!ranks.has(topic) && wanted.every((one) => words.includes(one)))
          ranks.set(topic, 1 + words.length - wanted.length);
    let isWanted = false;
    for (const [topic, rank] of ranks) isWanted = this.#keep({ topic, title, rank }) || isWanted;
    return isWanted;
  }

  /** Whether a page that others lead to went by before it was known: then pages go by once more. */
  get isBehind(): boolean {
    return [...this.#led].some(([plain, topics]) =>
      [...topics].some(
        (topic) => this.#met.has(plain) && !this.matches(topic).some((one) => plainTitle(one.title) === plain),
      ),
    );
  }

  /** The best first. */
  matches(topic: string): readonly Match[] {
    return this.#best.get(topic) ?? [];
  }

  #lead(topic: string, plain: string): void {
    this.#led.set(plain, (this.#led.get(plain) ?? new Set()).add(topic));
  }

  #keep(match: Match): boolean {
    const best = this.#best.get(match.topic) ?? [];
    if (best.some(({ title }) => title === match.title)) return true;
    const kept = [...best, match].sort((a, b) => a.rank - b.rank || (a.title < b.title ? -1 : 1)).slice(0, this.#most);
    this.#best.set(match.topic, kept);
    return kept.includes(match);
  }
}
