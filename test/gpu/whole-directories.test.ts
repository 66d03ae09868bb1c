// Whole models with pictures on the device: the greedy tokens of transformers.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Session } from '../../pipelines/answer/session.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import { makeVlm, type VlmKind } from '../support/made-vlm.ts';
import { everything } from '../support/share.ts';
import { ramp, type WholeGolden } from '../support/whole-golden.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-whole-'));
afterAll(() => rmSync(root, { recursive: true }));

const kinds: readonly VlmKind[] = everything
  ? ['gemma3', 'smolvlm', 'qwen2_5_vl', 'qwen3_vl', 'llava_onevision', 'internvl', 'internvl_6b']
  : ['qwen3_vl'];

test.each(kinds)('%s', { timeout: 300_000 }, async (kind) => {
  const golden = JSON.parse(
    readFileSync(join(import.meta.dirname, `../golden/whole/${kind}.json`), 'utf8'),
  ) as WholeGolden;
  const model = await openModel(makeVlm(join(root, kind), kind));
  const device = await openDevice();
  const session = await Session.open(model, device, { context: 128, images: 2 });
  try {
    for (const { pictures, tokens } of everything ? golden.cases : golden.cases.slice(2, 3)) {
      const answers = session.answer(
        { text: golden.question, images: pictures.map(ramp) },
        { maxNewTokens: tokens.length },
      );
      let next = await answers.next();
      while (next.done !== true) next = await answers.next();
      const end = tokens.findIndex((token) => model.endTokens.has(token));
      expect(next.value.tokens).toEqual(end < 0 ? tokens : tokens.slice(0, end));
    }
  } finally {
    session.dispose();
    device.close();
    model.close();
  }
});
