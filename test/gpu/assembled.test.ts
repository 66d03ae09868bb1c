// An assembled model on the device: the tokens of the interpreter, which reads the whole sequence anew for each of them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { assemble } from '../../pipelines/assemble/assemble.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Image } from '../../runtime/image/image.ts';
import { judgeFamily } from '../support/family-judge.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-assembled-'));
afterAll(() => rmSync(root, { recursive: true }));
const picture: Image = { width: 60, height: 40, rgb: new Uint8Array(60 * 40 * 3).map((_, i) => (i * 37) % 256) };

test('a tower and a connector of the zoo in front of a language model', { timeout: 300_000 }, async () => {
  const { directory: made } = makeCheckpoint(join(root, 'made'));
  const towers = [join(made, 'towers', 'ViT-made-14-98')];
  const language = makeLanguage(join(root, 'llama'), 'llama');
  const { directory } = await assemble({ towers, connector: 'deco', tokens: 9, language, out: join(root, 'out') });
  const model = await openModel(directory);
  const device = await openDevice();
  try {
    const question = { text: 'What is it?', images: [picture] };
    const { tokens, leads } = await judgeFamily(model, question, 4);
    expect(Math.min(...leads)).toBeGreaterThan(1e-3);
    const session = await Session.open(model, device, { context: 64, images: 1 });
    const answers = session.answer(question, { maxNewTokens: 4 });
    let next = await answers.next();
    while (next.done !== true) next = await answers.next();
    expect(next.value.tokens).toEqual(tokens);
    session.dispose();
  } finally {
    device.close();
    model.close();
  }
});
