// `--weights`, and which paths it holds for: what `run` and `plan` share.
import { Option } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import type { QuantizeOptions } from '../runtime/checkpoint/packed/quantized-source.ts';

export type WeightsChoice = 'q4' | 'q8' | 'f16' | 'f32';

interface Flags {
  readonly dtype?: 'f32' | 'f16' | undefined;
  readonly weights?: WeightsChoice | undefined;
  readonly quantize?: readonly string[] | undefined;
  readonly keep?: readonly string[] | undefined;
}

export function weightsOption(): Option {
  return new Option(
    '--weights <format>',
    'how matrices are stored: q4 and q8 quantize them as they are loaded',
  ).choices(['q4', 'q8', 'f16', 'f32']);
}

export function quantizeOption(): Option {
  return new Option('--quantize <globs...>', 'paths of the matrices that --weights is for; by default all');
}

export function keepOption(): Option {
  return new Option('--keep <globs...>', 'paths of matrices that --weights leaves alone');
}

/** What the flags say about storage: of everything, and of matrices. Throws `OpabiniaError` for globs that no format is given for. */
export function storageOf({ dtype, weights, quantize, keep }: Flags): {
  readonly dtype: 'f32' | 'f16';
  readonly weights?: QuantizeOptions | 'floats';
} {
  if (weights === 'q4' || weights === 'q8')
    return { dtype: dtype ?? 'f16', weights: { format: weights, only: quantize, except: keep } };
  const idle = quantize === undefined ? (keep === undefined ? undefined : '--keep') : '--quantize';
  if (idle !== undefined)
    throw new OpabiniaError(`${idle} says nothing without --weights q4 or q8`, {
      advice: `give the format that ${idle === '--keep' ? 'other matrices' : 'these matrices'} are to have, or leave it out`,
    });
  return weights === undefined ? { dtype: dtype ?? 'f16' } : { dtype: weights, weights: 'floats' };
}
