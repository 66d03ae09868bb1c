// How likely the model held a token of an answer to be, and which others it held to be likely: from the scores it was drawn from.

/** One token of the vocabulary. */
export interface Likely {
  readonly token: number;
  /** Natural logarithm of its probability under the softmax of the scores as the model gives them, before temperature and penalties. */
  readonly logprob: number;
}

export interface TokenScore extends Likely {
  /** The likeliest tokens, the first of them first; of equals the lower id. */
  readonly top: readonly Likely[];
}

/** The score of `token` and of the `top` likeliest, from one row of scores. Sums run in f64. */
export function tokenScore(scores: ArrayLike<number>, token: number, top: number): TokenScore {
  let highest = -Infinity;
  for (let id = 0; id < scores.length; id++) highest = Math.max(highest, scores[id] ?? -Infinity);
  let sum = 0;
  for (let id = 0; id < scores.length; id++) sum += Math.exp((scores[id] ?? -Infinity) - highest);
  const norm = highest + Math.log(sum);
  const likely = (id: number): Likely => ({ token: id, logprob: (scores[id] ?? -Infinity) - norm });
  return { ...likely(token), top: highestOf(scores, top).map(likely) };
}

/** Ids of the highest scores, in order. */
function highestOf(scores: ArrayLike<number>, count: number): readonly number[] {
  const best: number[] = [];
  if (count === 0) return best;
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id] ?? -Infinity;
    const last = best.at(-1);
    if (best.length === count && last !== undefined && score <= (scores[last] ?? -Infinity)) continue;
    const at = best.findIndex((other) => score > (scores[other] ?? -Infinity));
    best.splice(at === -1 ? best.length : at, 0, id);
    if (best.length > count) best.pop();
  }
  return best;
}
