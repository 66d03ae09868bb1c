// Activations as configs name them.
import { OpabiniaError } from '../../dsl/index.ts';
import type { ConfigReader } from './config-reader.ts';

/** The forms of GELU that `gelu` knows. */
export type Gelu = 'exact' | 'tanh' | 'quick';

const gelus: Readonly<Record<string, Gelu>> = {
  gelu: 'exact',
  gelu_python: 'exact',
  gelu_pytorch_tanh: 'tanh',
  gelu_python_tanh: 'tanh',
  gelu_tanh: 'tanh',
  gelu_new: 'tanh',
  gelu_fast: 'tanh',
  gelu_accurate: 'tanh',
  quick_gelu: 'quick',
};

/** `hidden_act`, or timm's `act_layer`, as a form of GELU. Throws for any other activation. */
export function geluOf(config: ConfigReader, otherwise: string, key: 'hidden_act' | 'act_layer' = 'hidden_act'): Gelu {
  const name = config.text(key, otherwise);
  const form = gelus[name];
  if (form === undefined)
    throw new OpabiniaError(`the config asks for the activation '${name}', which this model does not have`, {
      op: key,
      advice: `it has ${Object.keys(gelus).join(', ')}`,
    });
  return form;
}
