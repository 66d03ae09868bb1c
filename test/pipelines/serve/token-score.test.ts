import fc from 'fast-check';
import { expect, test } from 'vitest';
import { tokenScore } from '../../../pipelines/answer/rows/token-score.ts';
import { TokenLogprobs } from '../../../pipelines/serve/token-logprobs.ts';

const scores = fc.array(
  fc.oneof(fc.double({ min: -80, max: 80, noNaN: true }), fc.constant(-Infinity), fc.constant(2)),
  {
    minLength: 1,
    maxLength: 60,
  },
);

test('the likeliest of a vocabulary, the lower id first of equals; probabilities that sum to 1', () => {
  fc.assert(
    fc.property(
      scores.filter((all) => all.some((score) => score > -Infinity)),
      fc.nat(),
      fc.integer({ min: 0, max: 20 }),
      (all, pick, top) => {
        const token = pick % all.length;
        const total = all.reduce((sum, score) => sum + Math.exp(score), 0);
        const wanted = all
          .map((score, id) => ({ token: id, score }))
          .toSorted((a, b) => b.score - a.score || a.token - b.token)
          .slice(0, top);
        const found = tokenScore(Float64Array.from(all), token, top);
        expect(found.top.map((one) => one.token)).toEqual(wanted.map((one) => one.token));
        for (const one of [found, ...found.top])
          expect(Math.exp(one.logprob)).toBeCloseTo(Math.exp(all[one.token] ?? NaN) / total, 12);
      },
    ),
  );
});

test('a token is named by the text that it adds, and has no bytes where that is a part of a character', async () => {
  const words: Readonly<Record<number, string>> = { 1: ' a', 2: ' b', 3: '\ufffd' };
  // As tokenizers with a space in front of every text decode: the first one is taken away.
  const decodeAll = (lists: readonly (readonly number[])[]) =>
    lists.map((ids) =>
      ids
        .map((id) => words[id] ?? '')
        .join('')
        .replace(/^ /, ''),
    );
  const told = new TokenLogprobs({ decodeAll });
  told.push({ token: 1, logprob: -1, top: [{ token: 2, logprob: -2 }] });
  expect(await told.take()).toEqual([
    { token: 'a', logprob: -1, bytes: [97], top_logprobs: [{ token: 'b', logprob: -2, bytes: [98] }] },
  ]);
  told.push({ token: 2, logprob: -3, top: [] });
  told.push({ token: 3, logprob: -Infinity, top: [] });
  expect(await told.take()).toEqual([
    { token: ' b', logprob: -3, bytes: [32, 98], top_logprobs: [] },
    { token: '\ufffd', logprob: -9999, bytes: null, top_logprobs: [] },
  ]);
  expect(await told.take()).toEqual([]);
});
