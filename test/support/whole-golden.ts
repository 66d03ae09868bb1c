// What `test/golden/whole/judge.py` writes, the pictures that it makes, and what a model's answer is held against.
import { expect } from 'vitest';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { modelTolerance } from '../../pipelines/verify/verdict.ts';
import type { Image } from '../../runtime/image/image.ts';
import { judgeFamily } from './family-judge.ts';
import { everything } from './share.ts';

export interface WholeGolden {
  readonly question: string;
  readonly cases: readonly {
    readonly pictures: readonly { readonly width: number; readonly height: number }[];
    readonly ids: readonly number[];
    readonly tokens: readonly number[];
    /** Of each token at least, before the next likeliest. */
    readonly lead: number;
    readonly logits: readonly number[];
  }[];
}

type WholeCase = WholeGolden['cases'][number];

/** The ramp of `judge.py`. */
export function ramp({ width, height }: { readonly width: number; readonly height: number }): Image {
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [pixel, channel] = [Math.floor(i / 3), i % 3];
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    return (x * (3 + channel) + y * (7 - 2 * channel) + Math.floor((x * y) / 5) * (channel + 1)) % 256;
  });
  return { width, height, rgb };
}

/** Holds a model's answer against transformers': logits of the first token and greedy tokens. `idsOf` says what ids the prompt has of those in the file. */
export async function expectAsJudged(
  directory: string,
  question: string,
  { pictures, ids, tokens, lead, logits }: WholeCase,
  idsOf: (ids: readonly number[]) => readonly number[] = (same) => same,
): Promise<void> {
  const model = await openModel(directory);
  try {
    const asked = { text: question, images: pictures.map(ramp) };
    const { rows } = await model.family.layOut([asked], {});
    expect([...(rows['ids']?.values ?? [])]).toEqual(idsOf(ids));
    const steps = everything ? tokens.length : 2;
    const judged = await judgeFamily(model, asked, steps);
    // f32 of torch against f64, as golden files of models are compared.
    judged.logits.forEach((logit, i) => {
      const wanted = logits[i] ?? NaN;
      expect(Math.abs(logit - wanted)).toBeLessThan(
        modelTolerance.absolute + modelTolerance.relative * Math.abs(wanted),
      );
    });
    expect(lead).toBeGreaterThan(4e-3);
    expect(judged.tokens).toEqual(tokens.slice(0, steps));
  } finally {
    model.close();
  }
}
