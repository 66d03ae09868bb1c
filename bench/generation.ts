// The small Cambrian of examples/make-checkpoint.ts, end to end: a photograph and a question, towers to tokens.
import { join } from 'node:path';
import { openModel } from '../pipelines/answer/open-model.ts';
import { Session } from '../pipelines/answer/session.ts';
import { makeCheckpoint } from '../examples/make-checkpoint.ts';
import type { Device } from '../runtime/device/device.ts';
import { decodeImage } from '../runtime/image/image.ts';
import type { Generated } from './peers/protocol.ts';

const root = join(import.meta.dirname, '..');

/** Answers after a first one, in which the driver compiles. Every answer must have the same tokens. Throws `Error` when it has not. */
export async function measureGeneration(device: Device, answers: number, tokens: number): Promise<Generated> {
  const { directory } = makeCheckpoint(join(root, 'out', 'bench', 'cambrian-made'));
  const model = await openModel(directory);
  try {
    const photo = await decodeImage(join(root, 'examples', 'photos', 'chelsea.png'));
    const before = device.memory.now;
    const session = await Session.open(model, device, { context: 512, images: 1 });
    try {
      const deviceBytes = device.memory.now - before;
      const one = async () => {
        const asked = performance.now();
        const steps: number[] = [];
        const answer = session.answer(
          { text: 'What is in this picture?', images: [photo] },
          { maxNewTokens: tokens, onToken: () => steps.push(performance.now()) },
        );
        let next = await answer.next();
        while (next.done !== true) next = await answer.next();
        const [first = NaN, last = NaN] = [steps[0], steps.at(-1)];
        return {
          tokens: next.value.tokens,
          whole: last - asked,
          toFirst: first - asked,
          perSecond: steps.length > 1 ? (1000 * (steps.length - 1)) / (last - first) : NaN,
        };
      };
      const cold = await one();
      const warm: Awaited<ReturnType<typeof one>>[] = [];
      for (let i = 0; i < answers; i++) {
        const answer = await one();
        if (answer.tokens.join() !== cold.tokens.join()) throw new Error('two answers to one question differ');
        warm.push(answer);
      }
      return {
        cold: cold.whole,
        deviceBytes,
        tokens: cold.tokens.length,
        whole: warm.map((answer) => answer.whole),
        toFirst: warm.map((answer) => answer.toFirst),
        perSecond: warm.map((answer) => answer.perSecond),
      };
    } finally {
      session.dispose();
    }
  } finally {
    model.close();
  }
}
