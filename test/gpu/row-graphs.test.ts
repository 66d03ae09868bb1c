// Decoding by rows as graphs: what the interpreter says, and the same bits for a row in a plan of one row and of many, with the templates
// of either kind of device.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { steadySums, type DeviceProfile } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/index.ts';
import { decodeGraph, prefillGraph } from '../../models/decoders/generation-graphs.ts';
import { rowDecodeGraph, rowEntryGraph } from '../../models/decoders/row-graphs.ts';
import { samplingSettings, type SamplingOptions } from '../../models/decoders/sampling.ts';
import { openModel, type OpenedModel } from '../../pipelines/answer/open-model.ts';
import { knownSymbols } from '../../pipelines/answer/generate.ts';
import { load, type Inputs, type Program } from '../../runtime/program/program.ts';
import { SharedBuffers } from '../../runtime/program/shared-buffers.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { makeLanguage } from '../support/made-language.ts';
import { everything, share } from '../support/share.ts';
import { openGpu, withoutGpu, type Gpu } from './compare.ts';

const capacity = 160;
const prompts = [
  [5, 17, 300, 41],
  [9, 9, 9, 8, 77, 12, 500],
  [3, 600],
] as const;
/** Where each prompt goes, and at which step it comes. */
const entries = [
  { prompt: 0, step: 0 },
  { prompt: 1, step: 2 },
  { prompt: 2, step: 3 },
] as const;
const steps = 6;

type Run = (
  graph: 'prefill' | 'entry' | 'decode',
  inputs: Inputs,
  symbols: Readonly<Record<string, number>>,
) => Promise<ArrayLike<number>>;

const random = { temperature: 0.9, topP: 0.8, repetitionPenalty: 1.3 };

/** Logits of each row, step by step, from when its prompt is there. */
async function answers(
  { language, source }: OpenedModel,
  rows: number,
  draw: 'greedy' | 'random',
  running: (graphs: Readonly<Record<'prefill' | 'entry' | 'decode', Graph>>) => Promise<Run>,
  settings: SamplingOptions = random,
): Promise<readonly (readonly (readonly number[])[])[]> {
  const sizes = { rows, capacity, draw };
  const run = await running({
    prefill: prefillGraph(source, language, { batch: 1, capacity, promptLimit: capacity - 1, draw }),
    entry: rowEntryGraph(source, language, sizes),
    decode: rowDecodeGraph(source, language, sizes),
  });
  const { vocabulary } = language.config;
  const said: number[][][] = prompts.map(() => []);
  const lengths = new Map<number, number>();
  for (let step = 0; step < steps; step++) {
    for (const { prompt } of entries.filter((entry) => entry.step === step)) {
      const ids = prompts[prompt];
      // Beside fewer rows than prompts, those that have no row are left out.
      if (prompt >= rows) continue;
      const drawn: Inputs =
        draw === 'greedy'
          ? {}
          : { settings: samplingSettings(settings), seed: Uint32Array.of(prompt), seen: new Uint8Array(vocabulary) };
      await run(
        'prefill',
        { ids: Int32Array.from(ids), length: Int32Array.of(ids.length), ...drawn },
        { s: ids.length },
      );
      await run('entry', drawn, { row: prompt });
      lengths.set(prompt, ids.length);
    }
    const keys = Math.max(...lengths.values()) + 1;
    const logits = Array.from(await run('decode', {}, { keys }));
    for (const [prompt, length] of lengths) {
      said[prompt]?.push(logits.slice(prompt * vocabulary, (prompt + 1) * vocabulary));
      lengths.set(prompt, length + 1);
    }
  }
  return said;
}

describe.skipIf(withoutGpu)('decoding by rows', () => {
  const root = mkdtempSync(join(tmpdir(), 'opabinia-row-graphs-'));
  let gpu: Gpu;
  let model: OpenedModel;
  beforeAll(async () => {
    gpu = await openGpu();
    model = await openModel(makeLanguage(join(root, 'model'), 'llama'));
  });
  afterAll(() => {
    model.close();
    expect(gpu.device.memory.now).toBe(0);
    gpu.close();
    rmSync(root, { recursive: true });
  });

  const interpreted = async (graphs: Readonly<Record<string, Graph>>): Promise<Run> => {
    const states = new Map<string, Float64Array>();
    return async (name, inputs, symbols) => {
      const graph = graphs[name];
      if (graph === undefined) throw new RangeError(name);
      const result = evaluate(
        graph,
        {
          inputs: new Map(Object.entries(inputs).map(([key, value]) => [key, value as ArrayLike<number>])),
          params: (path, shape) => model.source.read(path, shape),
          states,
          symbols: new Map(Object.entries(symbols)),
        },
        { precision: 'f64' },
      );
      for (const [key, state] of result.states) states.set(key, state as Float64Array);
      return result.outputs.get('logits')?.data ?? [];
    };
  };

  /** On the device, as plans for a profile. */
  async function onDevice<T>(
    profile: DeviceProfile,
    use: (running: (graphs: Readonly<Record<string, Graph>>) => Promise<Run>) => Promise<T>,
  ): Promise<T> {
    const loaded: Program[] = [];
    try {
      return await use(async (graphs) => {
        const shared = new SharedBuffers();
        const programs = new Map<string, Program>();
        for (const [name, graph] of Object.entries(graphs)) {
          const own = name === 'decode' ? steadySums(profile) : profile;
          const program = await load(compile(graph, own, { verify: true }), gpu.device, model.source, { shared });
          programs.set(name, program);
          loaded.push(program);
        }
        return async (name, inputs, symbols) => {
          const program = programs.get(name);
          if (program === undefined) throw new RangeError(name);
          const { logits } = await program.run(inputs, { symbols: knownSymbols(program, symbols) });
          return Array.from(logits?.data ?? [], Number);
        };
      });
    } finally {
      for (const program of loaded) program.dispose();
    }
  }

  test('gives what prefill and decode of each prompt alone give, in the interpreter exactly', async () => {
    const { language, source } = model;
    const said = await answers(model, 4, 'greedy', interpreted);
    for (const { prompt, step } of entries) {
      const ids = prompts[prompt];
      const run = await interpreted({
        prefill: prefillGraph(source, language, { batch: 1, capacity, promptLimit: capacity - 1, draw: 'greedy' }),
        decode: decodeGraph(source, language, { batch: 1, capacity, promptLimit: capacity - 1, draw: 'greedy' }),
      });
      await run('prefill', { ids: Int32Array.from(ids), length: Int32Array.of(ids.length) }, { s: ids.length });
      expect(said[prompt]).toHaveLength(steps - step);
      for (const [i, logits] of (said[prompt] ?? []).entries())
        expect(logits).toEqual(Array.from(await run('decode', {}, { past: ids.length + i })));
    }
  }, 120_000);

  // The templates of GPUs compile for a minute and a half on a software driver.
  test.each(everything ? ([0, 1] as const) : ([0] as const))(
    'profile %i: the same bits in few rows and in many, and where some draw at random',
    async (at) => {
      const profile = gpu.profiles[at];
      const exact = await answers(model, 3, 'greedy', interpreted);
      const three = await onDevice(profile, async (running) => answers(model, 3, 'greedy', running));
      three.forEach((own, prompt) =>
        own.forEach((logits, step) =>
          logits.forEach((logit, token) => {
            const wanted = exact[prompt]?.[step]?.[token] ?? NaN;
            expect(Math.abs(logit - wanted)).toBeLessThan(1e-4 + 1e-4 * Math.abs(wanted));
          }),
        ),
      );
      for (const rows of share([5], [1, 5, 40, 300])) {
        const other = await onDevice(profile, async (running) => answers(model, rows, 'greedy', running));
        expect(other).toEqual(three.map((own, prompt) => (prompt < rows ? own : [])));
      }
      const [drawn, more] = [
        await onDevice(profile, async (running) => answers(model, 3, 'random', running)),
        await onDevice(profile, async (running) => answers(model, 9, 'random', running)),
      ];
      expect(more).toEqual(drawn);
      // Who takes the likeliest token may be answered by either plan.
      expect(await onDevice(profile, async (running) => answers(model, 3, 'random', running, {}))).toEqual(three);
    },
    300_000,
  );
});
