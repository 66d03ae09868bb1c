// Made LLaVA directories against transformers: where pictures stand in the prompt, the logits of the first token, and greedy tokens
// (`test/golden/whole/judge.py` says how its vectors are made).
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { makeLlava, type LlavaChoices } from '../../examples/make-llava.ts';
import { checkModel } from '../../pipelines/check/check-model.ts';
import { everything } from '../support/share.ts';
import { expectAsJudged, type WholeGolden } from '../support/whole-golden.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-llava-'));
afterAll(() => rmSync(root, { recursive: true }));

describe.each([
  ['llava', {}],
  ['llava_next', { type: 'llava_next', names: 'new' }],
  ['llava_siglip', { tower: 'siglip' }],
] as const satisfies readonly (readonly [string, LlavaChoices])[])('%s %o', (kind, choices) => {
  const { directory } = makeLlava(join(root, JSON.stringify(choices).replaceAll(/\W/g, '_')), choices);
  const { question, cases } = JSON.parse(
    readFileSync(join(import.meta.dirname, `../golden/whole/${kind}.json`), 'utf8'),
  ) as WholeGolden;

  test('check opens it', async () => {
    expect(await checkModel(directory)).toMatchObject({ ok: true, problems: [] });
  });

  test.each(everything ? cases : cases.slice(2))(
    'pictures $pictures',
    (one) =>
      expectAsJudged(directory, question, one, (ids) => {
        // A picture's tokens stand where the prompt has its placeholders.
        const image = one.pictures.length === 0 ? undefined : ids.find((id, at) => id === ids[at + 1]);
        return ids.map((id) => (id === image ? 0 : id));
      }),
    120_000,
  );
});

test("SigLIP's tower below the new names, without `vision_model`", async () => {
  const { directory } = makeLlava(join(root, 'new'), { tower: 'siglip', names: 'new' });
  expect(await checkModel(directory)).toMatchObject({ ok: true, problems: [] });
});
