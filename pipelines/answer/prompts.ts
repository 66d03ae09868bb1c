// Prompts that are laid out to the inputs of prefill: rows for the whole batch, and what a random draw needs.
import { OpabiniaError } from '../../dsl/error.ts';
import { crossesLength } from '../../models/decoders/rope.ts';
import { checkSampling, samplingSettings } from '../../models/decoders/sampling.ts';
import type { Prompts } from './generate.ts';
import type { Inputs } from '../../runtime/program/program.ts';
import type { LaidOut, PromptOptions } from './family.ts';
import type { OpenedModel } from './open-model.ts';

/** Throws `OpabiniaError` for options that say nothing: a number that is none, a seed or a count of tokens that is not whole. */
export function checkOptions(options: PromptOptions & { readonly maxNewTokens?: number | undefined }): void {
  checkSampling(options);
  const { seed = 0, maxNewTokens = 0 } = options;
  const refused = (what: string, advice: string): OpabiniaError => new OpabiniaError(what, { op: 'answer', advice });
  if (!Number.isSafeInteger(seed)) throw refused(`the seed is ${seed}`, 'give a whole number');
  if (!Number.isSafeInteger(maxNewTokens) || maxNewTokens < 0)
    throw refused(`maxNewTokens is ${maxNewTokens}`, 'give a whole number, or leave it out: as many as fit');
}

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
  const again = (tokens: readonly Int32Array[]): Prompts | undefined => {
    const { rope } = model.language.config;
    const before = tokens.length - 1;
    const due = laid.lengths.some((length) => crossesLength(rope, length + before, length + tokens.length));
    return due && before >= 0 ? toPrompts(model, withAnswers(laid, tokens), rows, draw, options) : undefined;
  };
  return { inputs, symbols: { ...laid.symbols, s: width }, width, again };
}

/** Each prompt with what was answered so far behind it, as one prompt. */
function withAnswers(laid: LaidOut, tokens: readonly Int32Array[]): LaidOut {
  if (laid.lengths.length > 1 && Object.keys(laid.inputs).length > 0)
    throw new OpabiniaError(
      'an answer comes to where rotations change, and inputs of several prompts count their places',
      {
        op: 'generate',
        advice: 'ask one question at a time, or open the model with a shorter context',
      },
    );
  const lengths = laid.lengths.map((length) => length + tokens.length);
  const width = Math.max(...lengths);
  const rows = Object.entries(laid.rows).map(([name, { values, otherwise }]) => {
    const all = new Int32Array(lengths.length * width).fill(otherwise);
    laid.lengths.forEach((length, row) => {
      all.set(values.subarray(row * laid.width, row * laid.width + length), row * width);
      // Behind a prompt stands text: an id, and in every other row what stands where no picture is.
      if (name === 'ids') tokens.forEach((step, i) => (all[row * width + length + i] = Math.max(0, step[row] ?? 0)));
    });
    return [name, { values: all, otherwise }] as const;
  });
  const ids = laid.ids.map((own, row) => [...own, ...tokens.map((step) => Math.max(0, step[row] ?? 0))]);
  return { ...laid, width, lengths, ids, rows: Object.fromEntries(rows) };
}
