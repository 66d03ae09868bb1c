// A LLaVA directory exported as three ONNX models: ONNX Runtime, going from one to the next by their states, says what the interpreter says.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { toPrompts } from '../../pipelines/answer/prompts.ts';
import { exportModels } from '../../pipelines/export/export-models.ts';
import { runExported } from '../../pipelines/verify/onnx-runtime.ts';
import { OnnxRuntime } from '../../runtime/onnx/onnx-runtime.ts';
import { makeLlava } from '../../examples/make-llava.ts';
import type { Image } from '../../runtime/image/image.ts';
import { judgedSteps, judgeLlava } from '../support/llava-judge.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-onnx-llava-'));
const runtime = new OnnxRuntime();
afterAll(() => {
  runtime.close();
  rmSync(scratch, { recursive: true });
});

test.each(['llava', 'llava_next'] as const)(
  '%s: a picture, a question, and its first tokens',
  async (type) => {
    const { directory } = makeLlava(join(scratch, type), { type });
    const exported = new Map(
      (await exportModels(directory, { onnx: join(scratch, `${type}.onnx`), context: 128, prompt: 120 })).map((one) => [
        one.name,
        one,
      ]),
    );
    expect([...exported.keys()]).toEqual(['vision', 'prefill', 'decode']);
    let states: ReadonlyMap<string, ArrayLike<number>> = new Map();
    const open = async (name: string) => {
      const one = exported.get(name) ?? expect.fail(`there is no ${name}`);
      const session = await runtime.open(one.path);
      return async (
        inputs: Readonly<Record<string, unknown>>,
        symbols: Readonly<Record<string, number>>,
      ): Promise<number> => {
        const result = await runExported(session, one.model, {
          inputs: new Map(Object.entries(inputs as Record<string, ArrayLike<number>>)),
          states,
          symbols: new Map(Object.entries(symbols)),
        });
        states = new Map([...states, ...result.states]);
        return result.outputs.get('token')?.[0] ?? NaN;
      };
    };
    const picture: Image = {
      width: 70,
      height: 40,
      rgb: Uint8Array.from({ length: 70 * 40 * 3 }, (_, i) => (i * 37) % 251),
    };
    const model = await openModel(directory);
    try {
      const laid = await model.family.layOut([{ text: 'What is this?', images: [picture] }], {});
      const { inputs, symbols, width } = toPrompts(model, laid, 1, 'greedy', {});
      const [vision, prefill, decode] = [await open('vision'), await open('prefill'), await open('decode')];
      for (const view of laid.views) await vision(view.inputs(), view.symbols);
      const tokens = [await prefill(inputs, symbols)];
      for (let step = 1; step < judgedSteps; step++) tokens.push(await decode({}, { past: width + step - 1 }));
      const judged = judgeLlava(model, 'What is this?', [picture]);
      expect(Math.min(...judged.leads)).toBeGreaterThan(1e-3);
      expect(tokens).toEqual(judged.tokens);
    } finally {
      model.close();
    }
  },
  120_000,
);
