// What the fuzzer has found before: each saved case compiles, runs on the GPU and gives the right values. And the files say what they said.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { print } from '../../dsl/text/print.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { openGpu, withoutGpu, type Gpu } from '../gpu/compare.ts';
import { asFeeds, caseArbitrary, readCase, writeCase } from './case.ts';
import { asOutcome, compileCase, Expected, profileOf, runCase } from './judge.ts';
import { OnnxJudge } from './onnx.ts';

const folder = join(import.meta.dirname, '../golden/fuzz');
const files = existsSync(folder)
  ? readdirSync(folder)
      .filter((file) => file.endsWith('.txt'))
      .sort()
  : [];

describe.skipIf(withoutGpu || files.length === 0)('graphs that once failed', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test.each(files.filter((file) => file.startsWith('gpu-')))('%s', async (file) => {
    const given = readCase(readFileSync(join(folder, file), 'utf8'));
    try {
      // Those of profile 0 were found on a software driver, in its templates.
      const compiled = compileCase(given, profileOf({ profiles: [gpu.software, gpu.desktop] }, given));
      if (compiled !== undefined) expect((await runCase(gpu, given, compiled, new Expected(given))).kind).toBe('ok');
    } catch (error) {
      // A limit of the device, named in a typed error, is an answer too.
      if (asOutcome(error).kind !== 'refused') throw error;
    }
  });

  test.each(files.filter((file) => file.startsWith('onnx-')))('%s', async (file) => {
    const given = readCase(readFileSync(join(folder, file), 'utf8'));
    const onnx = new OnnxJudge();
    for (const plain of [false, true])
      expect(await onnx.run(given, plain)).toMatchObject({ kind: expect.stringMatching(/ok|refused/) });
    onnx.close();
  });
});

test('a case written and read back is the same case', () => {
  fc.assert(
    fc.property(caseArbitrary(), (given) => {
      const again = readCase(writeCase(given, ['what failed', 'and where']));
      expect(print(again.graph)).toBe(print(given.graph));
      expect(again.feeds).toEqual(given.feeds);
      expect([again.kind, again.profile, again.limits, again.passes, again.packing]).toEqual([
        given.kind,
        given.profile,
        given.limits,
        given.passes,
        given.packing,
      ]);
      const [before, after] = [given, again].map(({ graph, feeds }) =>
        evaluate(graph, asFeeds(feeds), { precision: 'f64' }),
      );
      expect(after).toEqual(before);
    }),
    { numRuns: 60, seed: 5 },
  );
});
