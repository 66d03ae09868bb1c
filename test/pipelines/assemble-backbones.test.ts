// Every kind of backbone that Cambrian-1 was studied with, tiny, behind a connector and in front of a language model: assembled, opened,
// and asked a question, whose answer depends on the picture.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { assemble } from '../../pipelines/assemble/assemble.ts';
import type { Image } from '../../runtime/image/image.ts';
import { judgeFamily } from '../support/family-judge.ts';
import { goldenTower } from '../support/golden-tower.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-backbones-'));
const language = join(root, 'language');
beforeAll(() => void makeLanguage(language, 'llama'));
afterAll(() => rmSync(root, { recursive: true }));

const picture = (step: number): Image => ({
  width: 40,
  height: 40,
  rgb: Uint8Array.from({ length: 40 * 40 * 3 }, (_, i) => (i * step) % 251),
});

/** Named by a file of golden/models; tokens of a picture. */
const towers = [
  ['mae-vit', 16],
  ['eva02-clip', 36],
  ['clip-vit', 36],
  ['siglip-vit', 25],
  ['dinov2', 16],
  // All stages on the grid of the first: more places than this language model has, so they are pooled.
  ['convnext', 16],
  ['openclip-vit', 16],
  ['vit-augreg', 16],
  ['moco-v3', 9],
  ['ijepa-vit', 16],
  ['eva02-mim', 16],
  ['sam-vit', 100],
  ['dpt-vit', 16],
  ['dpt-beit', 16],
] as const;

test.each(towers)(
  '%s: %i tokens a picture',
  async (name, tokens) => {
    const tower = goldenTower(join(root, name), name);
    const out = join(root, `${name}-married`);
    const connector = name === 'convnext' ? { connector: 'deco', tokens } : { connector: 'mlp2x' };
    const made = await assemble({ towers: [tower], ...connector, language, out });
    expect(made.tokens).toBe(tokens);
    const model = await openModel(out);
    try {
      const ask = (step: number) => judgeFamily(model, { text: 'What is it?', images: [picture(step)] }, 1);
      const [first, again, other] = [await ask(37), await ask(37), await ask(101)];
      expect(first.logits).toHaveLength(640);
      expect(first.logits.every(Number.isFinite)).toBe(true);
      expect(again.logits).toEqual(first.logits);
      const change = Math.max(...first.logits.map((logit, i) => Math.abs(logit - (other.logits[i] ?? NaN))));
      expect(change).toBeGreaterThan(1e-6);
    } finally {
      model.close();
    }
  },
  120_000,
);
