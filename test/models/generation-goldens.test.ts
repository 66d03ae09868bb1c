// The token loop over prefill and decode graphs gives the golden tokens of every family: windows, caps, norms, rotations that change.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { decoderTypes, isDecoderName } from '../../models/decoders/families.ts';
import { decodeGraph, prefillGraph } from '../../models/decoders/generation-graphs.ts';
import { generateTokens, type GenerationPrograms } from '../../pipelines/answer/generate.ts';
import type { OpenedModel } from '../../pipelines/answer/open-model.ts';
import { toPrompts } from '../../pipelines/answer/prompts.ts';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import type { Graph } from '../../dsl/index.ts';
import type { Runnable } from '../../pipelines/run/engine.ts';
import type { Inputs } from '../../runtime/program/program.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

const folder = join(import.meta.dirname, '../golden/models');

/** Tokens of a golden prompt by the graphs that answer on a device, run by the interpreter. */
async function answers(name: string, keepKeys = false): Promise<{ readonly got: number[]; readonly wanted: number[] }> {
  const file = new GoldenFile(join(folder, `${name}.safetensors`));
  try {
    const json: unknown = JSON.parse(file.checkpoint.metadata.get('config') ?? '');
    if (!isDecoderName(file.kind)) throw new Error(file.kind);
    const language = decoderTypes[file.kind].read(json, name);
    const ids = file.numbers('input.input_ids').map(Number);
    const wanted = file.numbers('output.greedy_tokens').map(Number);
    const capacity = ids.length + wanted.length + 1;
    const sizes = { batch: 1, capacity, promptLimit: capacity - 1, draw: 'greedy' } as const;
    let states: ReadonlyMap<string, ArrayLike<number>> = new Map();
    const program = (graph: Graph): Runnable =>
      ({
        symbols: [{ name: 's' }, { name: 'past' }],
        run: async (inputs: Inputs, { symbols }: { readonly symbols: Readonly<Record<string, number>> }) => {
          const result = evaluate(
            graph,
            {
              inputs: new Map(Object.entries(inputs).map(([key, value]) => [key, value as ArrayLike<number>])),
              params: (path, shape) => file.checkpoint.read(path, shape),
              states,
              symbols: new Map(Object.entries(symbols)),
            },
            { precision: 'f32' },
          );
          states = new Map([...states, ...result.states]);
          return { token: { data: Int32Array.from(result.outputs.get('token')?.data ?? []) } };
        },
      }) as unknown as Runnable;
    const programs: GenerationPrograms = {
      prefill: program(prefillGraph(file.checkpoint, language, sizes)),
      decode: program(decodeGraph(file.checkpoint, language, sizes)),
      ...sizes,
    };
    const laid = {
      width: ids.length,
      lengths: Int32Array.of(ids.length),
      ids: [ids],
      pictures: 0,
      views: [],
      rows: { ids: { values: Int32Array.from(ids), otherwise: 0 } },
      inputs: {},
      symbols: {},
    };
    const prompts = toPrompts({ language } as unknown as OpenedModel, laid, 1, 'greedy', {});
    const got: number[] = [];
    const kept = { ...prompts, again: undefined };
    for await (const step of generateTokens(programs, keepKeys ? kept : prompts, { maxNewTokens: wanted.length }))
      got.push(step[0] ?? -1);
    return { got, wanted };
  } finally {
    file.checkpoint.close();
  }
}

describe('golden tokens by prefill and decode', () => {
  test.each([
    'llama-gqa',
    'mistral-sliding',
    'qwen2',
    'qwen3',
    'gemma2',
    'gemma3',
    'olmo2',
    'phi3-longrope',
    'phi4-mini-longrope',
  ])('%s', async (name) => {
    const { got, wanted } = await answers(name);
    expect(got).toEqual(wanted);
  });

  test('keys with the rotations of before the crossing give other tokens', async () => {
    const { got, wanted } = await answers('phi4-mini-longrope', true);
    expect(got).not.toEqual(wanted);
  });
});
