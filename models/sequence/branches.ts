// A conversation whose questions do not wait for one another: what they share comes once, and each goes on from there alone, as if it had
// been asked alone (Molmo, Deitke et al. 2024, section 3: all annotations of a picture in one sequence, masked from one another).
import { OpabiniaError } from '../../dsl/error.ts';
import { ignoredLabel, imagePlaceholder, textSlot, type SequenceBatch } from './collate.ts';
import type { ConversationOptions, EncodeChunk, PromptOptions, TemplateName, Turn } from './conversation.ts';
import { labelledIds, type LabelledIds } from './labels.ts';

export interface BranchedIds extends LabelledIds {
  /** Of every id: 0 where all questions share it, else the number of its question, from 1. */
  readonly branches: readonly number[];
}

/**
 * Ids, labels and branches of the pairs of question and answer in `turns`. Each pair is laid out as a conversation of its own, with the
 * pictures of the first turn; what all begin with, up to the first label, is shared. Pairs that the reference would not learn from
 * (`labelledIds`) have no labels. Throws `OpabiniaError` where a later question brings pictures of its own, or turns are not pairs.
 */
export async function labelledBranches(
  name: TemplateName,
  turns: readonly Turn[],
  encode: (...chunk: Parameters<EncodeChunk>) => Promise<readonly number[]> | readonly number[],
  options: PromptOptions & Pick<ConversationOptions, 'system'> = {},
): Promise<BranchedIds> {
  const each = await Promise.all(pairsOf(turns).map((pair) => labelledIds(name, pair, encode, options)));
  const shared = sharedLength(each);
  const prefix = each[0]?.ids.slice(0, shared) ?? [];
  return {
    ids: [...prefix, ...each.flatMap(({ ids }) => ids.slice(shared))],
    labels: [...prefix.map(() => ignoredLabel), ...each.flatMap(({ labels }) => labels.slice(shared))],
    branches: [...prefix.map(() => 0), ...each.flatMap(({ ids }, i) => ids.slice(shared).map(() => i + 1))],
  };
}

function pairsOf(turns: readonly Turn[]): readonly (readonly Turn[])[] {
  const refuse = (what: string, advice: string) => new OpabiniaError(what, { op: 'data', advice });
  if (turns.length === 0 || turns.length % 2 === 1)
    throw refuse(`${turns.length} turns are not pairs of question and answer`, "leave `turns: 'independent'` out");
  const images = turns[0]?.images;
  return turns.flatMap((turn, i) => {
    const answer = turns[i + 1];
    if (i % 2 === 1 || answer === undefined) return [];
    if (turn.role !== 'user' || answer.role !== 'assistant')
      throw refuse(`turn ${i} is the ${turn.role}'s, turn ${i + 1} the ${answer.role}'s`, 'ask first, then answer');
    if (i > 0 && (turn.images ?? 0) > 0)
      throw refuse(`question ${i / 2} shows a picture of its own`, 'show all pictures with the first question');
    return [[images === undefined ? turn : { ...turn, images }, answer]];
  });
}

/** What all begin with, no label in it. */
function sharedLength(each: readonly LabelledIds[]): number {
  const [first, ...others] = each;
  if (first === undefined) return 0;
  let length = 0;
  while (
    length < first.ids.length &&
    each.every(({ labels }) => (labels[length] ?? ignoredLabel) === ignoredLabel) &&
    others.every(({ ids }) => ids[length] === first.ids[length])
  )
    length++;
  return length;
}

export interface Branched {
  readonly ids: ArrayLike<number>;
  /** By default everything is shared. */
  readonly branches?: ArrayLike<number> | undefined;
}

/**
 * The batch with every branch at the positions that it would have alone, and the branch of every slot, `samples × length`. Text in the rows
 * of `batch` stands in the order of the ids it was laid out from.
 */
export function placeBranches(
  batch: SequenceBatch,
  samples: readonly Branched[],
): { readonly batch: SequenceBatch; readonly branch: Int32Array } {
  const branch = new Int32Array(batch.samples * batch.length);
  const positions = batch.positions.slice();
  samples.forEach(({ ids, branches }, row) => {
    if (branches === undefined) return;
    const text = Array.from(ids, (id, i) => ({ id, branch: branches[i] ?? 0, at: i })).filter(
      ({ id }) => id !== imagePlaceholder,
    );
    const shared = Array.from(branches).findIndex((own) => own > 0);
    const starts = new Map<number, number>();
    let next = 0;
    for (let at = row * batch.length; at < (row + 1) * batch.length; at++) {
      if (batch.slots[at] !== textSlot) continue;
      const token = text[next++];
      if (token === undefined || token.branch === 0) continue;
      const start = starts.get(token.branch) ?? token.at;
      starts.set(token.branch, start);
      branch[at] = token.branch;
      positions[at] = (positions[at] ?? 0) - (start - shared);
    }
  });
  return { batch: { ...batch, positions }, branch };
}
