// The end of the demo: a whole small Cambrian, made here with weights from a seed, answers about the photograph.
import { makeCheckpoint } from '../make-checkpoint.ts';
import type { Device } from '../../runtime/device/device.ts';
import type { Image } from '../../runtime/image/image.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { Session } from '../../pipelines/answer/session.ts';

export interface AnswerDemo {
  readonly device: Device;
  readonly photo: Image;
  readonly progress: (text: string) => void;
}

const directory = 'out/checkpoint';
const prompt = 'What is this?';
const most = 24;

/** Lines for stdout. */
export async function answerDemo({ device, photo, progress }: AnswerDemo): Promise<readonly string[]> {
  const made = makeCheckpoint(directory);
  progress(
    `${directory}: a Cambrian of ${(made.parameters / 1e6).toFixed(2)} million parameters${made.written ? ', made now' : ''}`,
  );
  const model = await openModel(directory);
  try {
    const session = await Session.open(model, device, { context: 512, images: 1, note: progress });
    try {
      const asked = performance.now();
      let first = asked;
      let steps = 0;
      let text = '';
      for await (const words of session.answer(
        { text: prompt, images: [photo] },
        {
          maxNewTokens: most,
          onToken: () => {
            if (steps++ === 0) first = performance.now();
          },
        },
      ))
        text += words;
      const rest = steps - 1;
      return [
        `${directory}: four towers, SVA with D = 3 and G = 1, a language model with SVA layers inside, ${(made.parameters / 1e6).toFixed(2)} million parameters from a seed`,
        `question  ${prompt}`,
        // Nobody has taught it anything.
        `answer    ${JSON.stringify(text)}`,
        `${steps} tokens, the first after ${((first - asked) / 1000).toFixed(2)} s${rest > 0 ? `, then ${((1000 * rest) / (performance.now() - first)).toFixed(1)} a second` : ''}; \`npm run -s opabinia -- run ${directory} --image FILE --prompt TEXT\` asks more`,
      ];
    } finally {
      session.dispose();
    }
  } finally {
    model.close();
  }
}
