// Questions that do not see one another: ids, positions, and a loss that is the sum of what each question alone has.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../../dsl/error.ts';
import { randomParams, trace } from '../../../dsl/index.ts';
import { embedTokens } from '../../../models/decoders/decoder.ts';
import { llama } from '../../../models/decoders/llama.ts';
import { sequenceInputs, sequenceLoss } from '../../../models/multimodal/cambrian-training.ts';
import { labelledBranches, placeBranches } from '../../../models/sequence/branches.ts';
import {
  collateForTraining,
  dummyPicture,
  imagePlaceholder,
  layOutForInference,
} from '../../../models/sequence/collate.ts';
import type { ConversationPart, Turn } from '../../../models/sequence/conversation.ts';
import { evaluate } from '../../../runtime/reference/reference.ts';

const vocabulary = 40;

/** Letters and control words as ids below the vocabulary. */
function toyIds(chunk: readonly ConversationPart[]): readonly number[] {
  return chunk.flatMap((part) =>
    part.kind === 'image'
      ? []
      : [...part.text.replaceAll(/<\|\w+\|>/g, '#')].map((one) => (one.codePointAt(0) ?? 0) % vocabulary),
  );
}

const pair = (question: string, answer: string, images?: number): readonly Turn[] => [
  { role: 'user', text: question, ...(images === undefined ? {} : { images }) },
  { role: 'assistant', text: answer },
];

const word = fc.stringMatching(/^[a-z]{1,6}$/);
const conversations = fc.array(fc.tuple(word, word), { minLength: 1, maxLength: 4 });

const tiny = llama({
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: vocabulary,
  rms_norm_eps: 1e-5,
  rope_theta: 100,
});

describe('branches', () => {
  test('what all questions begin with comes once, each question goes on from there', async () => {
    const turns = [...pair('ab', 'x', 1), ...pair('ac', 'yy')];
    const made = await labelledBranches('vicuna_v1', turns, toyIds);
    const alone = await labelledBranches('vicuna_v1', pair('ac', 'yy', 1), toyIds);
    const shared = made.branches.filter((one) => one === 0).length;
    expect(made.ids.filter((id) => id === imagePlaceholder)).toHaveLength(1);
    // Up to the letter both begin with.
    expect(made.ids[shared - 1]).toBe(toyIds([{ kind: 'user', text: 'a' }])[0]);
    const second = made.ids.filter((_, i) => made.branches[i] !== 1);
    expect(second).toEqual(alone.ids);
    expect(made.labels.filter((_, i) => made.branches[i] !== 1)).toEqual(alone.labels);
  });

  test('a later question with a picture of its own is refused, and so are turns that are not pairs', async () => {
    await expect(labelledBranches('vicuna_v1', [...pair('a', 'b', 1), ...pair('c', 'd', 1)], toyIds)).rejects.toThrow(
      OpabiniaError,
    );
    await expect(labelledBranches('vicuna_v1', pair('a', 'b').slice(0, 1), toyIds)).rejects.toThrow(/not pairs/);
  });

  test('in both layouts every branch stands where it would stand alone', async () => {
    await fc.assert(
      fc.asyncProperty(conversations, fc.boolean(), fc.integer({ min: 1, max: 3 }), async (asked, isTraining, side) => {
        const turns = asked.flatMap(([question, answer], i) => pair(question, answer, i === 0 ? 1 : undefined));
        const layOut = (sample: { readonly ids: readonly number[]; readonly labels: readonly number[] }) =>
          isTraining
            ? collateForTraining([sample], [dummyPicture], { side, imagePosition: 0, maxLength: 300, padId: -1 })
            : layOutForInference([{ ...sample, images: [0] }], [dummyPicture], { side });
        const made = await labelledBranches('vicuna_v1', turns, toyIds);
        const { batch, branch } = placeBranches(layOut(made), [made]);
        for (const [i, [question, answer]] of asked.entries()) {
          const single = layOut(await labelledBranches('vicuna_v1', pair(question, answer, 1), toyIds));
          const kept = Array.from(branch.keys()).filter(
            (at) => batch.attend[at] === 1 && (branch[at] === 0 || branch[at] === i + 1),
          );
          const wanted = Array.from(single.attend.keys()).filter((at) => single.attend[at] === 1);
          expect(kept.map((at) => batch.positions[at])).toEqual(wanted.map((at) => single.positions[at]));
          expect(kept.map((at) => batch.ids[at])).toEqual(wanted.map((at) => single.ids[at]));
        }
      }),
      { numRuns: 40 },
    );
  });

  test('the loss is the sum of the losses of the questions asked alone', async () => {
    await fc.assert(
      fc.asyncProperty(conversations, fc.integer({ min: 0, max: 9 }), async (asked, seed) => {
        const lossOf = async (turns: readonly Turn[], branched: boolean): Promise<number> => {
          const made = await labelledBranches('vicuna_v1', turns, toyIds, { system: 's' });
          const laid = layOutForInference([{ ...made, images: [] }], [], { side: 1 });
          const { batch, inputs } = sequenceInputs(tiny, laid.length, laid, branched ? [made] : undefined);
          const sizes = { batch: 1, length: batch.length, branched };
          const source = randomParams(seed);
          const graph = trace(source, (t) => {
            const ids = t.input('ids', 'b s', { b: 1, s: batch.length }, 'i32');
            return { loss: sequenceLoss(t, t.params, tiny, sizes, embedTokens(t.params, tiny.config, ids)) };
          });
          inputs.delete('slots');
          return Number(
            evaluate(graph, { inputs, params: source.read }, { precision: 'f32' }).outputs.get('loss')?.data[0],
          );
        };
        const turns = asked.flatMap(([question, answer]) => pair(question, answer));
        let sum = 0;
        for (const [question, answer] of asked) sum += await lossOf(pair(question, answer), false);
        const whole = await lossOf(turns, true);
        // Sums over at most 400 terms, in another order.
        expect(Math.abs(whole - sum)).toBeLessThan(400 * 2 ** -24 * Math.max(1, sum));
      }),
      { numRuns: 8 },
    );
  });
});
