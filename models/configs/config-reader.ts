// How models read a `config.json`: by key and type, each with the default of the class that wrote the file.
import { OpabiniaError } from '../../dsl/index.ts';

/** Checked reads of one JSON object. Each throws `OpabiniaError` when the value is of another type, or missing without a default. */
export interface ConfigReader {
  has(key: string): boolean;
  number(key: string, otherwise?: number): number;
  numbers(key: string): readonly number[];
  text(key: string, otherwise?: string): string;
  flag(key: string, otherwise: boolean): boolean;
}

/** The forms of GELU that `gelu` knows. */
export type Gelu = 'exact' | 'tanh' | 'quick';

const gelus: Readonly<Record<string, Gelu>> = {
  gelu: 'exact',
  gelu_pytorch_tanh: 'tanh',
  gelu_new: 'tanh',
  gelu_fast: 'tanh',
  quick_gelu: 'quick',
};

/** `hidden_act` as a form of GELU. Throws for any other activation. */
export function geluOf(config: ConfigReader, otherwise: string): Gelu {
  const name = config.text('hidden_act', otherwise);
  const form = gelus[name];
  if (form === undefined)
    throw new OpabiniaError(`the config wants the activation '${name}', which this model does not have`, {
      op: 'hidden_act',
      advice: `it has ${Object.keys(gelus).join(', ')}`,
    });
  return form;
}
