// Prompts that are laid out to the inputs of prefill: rows for the whole batch, and what a random draw needs.
import { samplingSettings } from '../../models/decoders/sampling.ts';
import type { Prompts } from './generate.ts';
import type { Inputs } from '../../runtime/program/program.ts';
import type { LaidOut, PromptOptions } from './family.ts';
import type { OpenedModel } from './open-model.ts';

/** The inputs of prefill for `rows` rows; those without a question hold one token that nobody reads the answer of. */
export function toPrompts(
  model: OpenedModel,
  laid: LaidOut,
  rows: number,
  draw: 'greedy' | 'random',
  options: PromptOptions,
): Prompts {
  const { width } = laid;
  const inputs: { [name: string]: Inputs[string] } = {
    ...laid.inputs,
    length: Int32Array.from({ length: rows }, (_, row) => laid.lengths[row] ?? 1),
  };
  for (const [name, { values, otherwise }] of Object.entries(laid.rows)) {
    const all = new Int32Array(rows * width).fill(otherwise);
    all.set(values);
    inputs[name] = all;
  }
  if (draw === 'random') {
    const vocabulary = model.language.config.vocabulary;
    const seen = new Uint8Array(rows * vocabulary);
    laid.ids.forEach((ids, row) => {
      for (const id of ids) seen[row * vocabulary + id] = 1;
    });
    inputs['settings'] = samplingSettings(options);
    inputs['seed'] = Uint32Array.from({ length: rows }, (_, row) => (options.seed ?? 0) + row);
    inputs['seen'] = seen;
  }
  return { inputs, symbols: { ...laid.symbols, s: width }, width };
}
