// Directories of whole models against transformers: the prompt's ids, the logits of the first token, and greedy tokens
// (`test/golden/whole/judge.py` says how its vectors are made).
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { checkModel } from '../../pipelines/check/check-model.ts';
import { makeVlm } from '../support/made-vlm.ts';
import { everything } from '../support/share.ts';
import { expectAsJudged, type WholeGolden } from '../support/whole-golden.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-whole-'));
afterAll(() => rmSync(root, { recursive: true }));

describe.each(['gemma3', 'smolvlm', 'qwen2_5_vl', 'qwen3_vl', 'llava_onevision', 'internvl', 'internvl_6b'] as const)(
  '%s',
  (kind) => {
    const directory = makeVlm(join(root, kind), kind);
    const { question, cases } = JSON.parse(
      readFileSync(join(import.meta.dirname, `../golden/whole/${kind}.json`), 'utf8'),
    ) as WholeGolden;

    test('check opens it', async () => {
      expect(await checkModel(directory)).toMatchObject({ ok: true, problems: [] });
    });

    test.each(everything ? cases : cases.slice(-2))(
      'pictures $pictures',
      (one) =>
        expectAsJudged(directory, question, one, (ids) => {
          // A LLaVA's tokens of pictures have no id.
          const image = kind === 'llava_onevision' ? ids.find((id, at) => id === ids[at + 1]) : undefined;
          return ids.map((id) => (id === image ? 0 : id));
        }),
      120_000,
    );
  },
);
