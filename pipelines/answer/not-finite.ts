// Values that overflowed, or were not numbers to begin with: told with the layer, in place of an answer of noise.
import { OpabiniaError } from '../../dsl/error.ts';
import { overflowed } from '../../models/decoders/generation-graphs.ts';
import type { Engine } from '../run/engine.ts';
import type { AnswerSizes } from './family.ts';
import { knownSymbols, type Prompts } from './generate.ts';
import type { OpenedModel } from './open-model.ts';

/** The largest magnitudes of what enters each layer, and of what leaves the last; `overflowed` or more where one is not finite. */
export type Reach = readonly number[];

/** The scores of the next token are not numbers. */
export class NotFiniteError extends OpabiniaError {
  /** The first decoder layer whose output is not finite; −1 for what goes into the first one, undefined where all of the prompt's are. */
  readonly layer: number | undefined;
  constructor(what: string, advice: string, layer: number | undefined) {
    super(what, { op: 'answer', advice });
    this.name = new.target.name;
    this.layer = layer;
  }
}

/** Largest finite numbers. */
const largest = { f16: 65_504, f32: 3.4028234663852886e38 } as const;

/** `reach` of the prompt, in a model whose activations are stored as `dtype`; `step`: the tokens of the answer so far. */
export function notFinite(reach: Reach, dtype: 'f32' | 'f16', step: number): NotFiniteError {
  const at = reach.findIndex((value) => !(value < overflowed));
  const advice =
    dtype === 'f16'
      ? 'open the model with f32 (--dtype f32), which holds what f16 does not'
      : 'the weights or the picture may hold NaN or infinite values: get the weights again';
  const holds = `${dtype} holds numbers up to ${largest[dtype].toLocaleString('en-US')}`;
  if (at < 0)
    return new NotFiniteError(
      step === 0
        ? `the scores of the first token are not numbers, though every layer's output is (${holds})`
        : `the scores of token ${step + 1} of the answer are not numbers, and those before it were (${holds})`,
      advice,
      undefined,
    );
  if (at === 0)
    return new NotFiniteError(
      `what goes into the language model is not all numbers: an embedding, or what the vision tower or the connector gives (${holds})`,
      advice,
      -1,
    );
  const before = reach[at - 1] ?? NaN;
  return new NotFiniteError(
    `the values overflow in layer ${at - 1} of the language model: what goes into it reaches ${before.toPrecision(3)}, what comes out is not finite (${holds})`,
    advice,
    at - 1,
  );
}

/** Prefill once more, with what each layer's values reach. `step`: the tokens of the answer so far. What the pictures left in states must be there still. */
export async function locateOverflow(
  { model: { family, source }, engine }: { readonly model: OpenedModel; readonly engine: Engine },
  sizes: AnswerSizes,
  prompts: Prompts,
  step: number,
): Promise<NotFiniteError> {
  const program = await engine.prepare('prefill', () => family.prefill({ ...sizes, locate: true })).load();
  try {
    const { reach } = await program.run(prompts.inputs, {
      symbols: knownSymbols(program, prompts.symbols),
      outputs: ['reach'],
    });
    return notFinite(Array.from(reach?.data ?? [], Number), source.dtype === 'f16' ? 'f16' : 'f32', step);
  } finally {
    program.dispose();
  }
}
