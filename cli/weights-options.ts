// `--dtype`, `--weights`, and which paths it holds for: what `run` and `plan` share.
import { Option } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import type { QuantizeOptions } from '../runtime/checkpoint/packed/quantized-source.ts';

export type WeightsChoice = 'q4' | 'q8' | 'f16' | 'f32';

/** Of storage, as typed; undefined where it was not. */
export interface StorageFlags {
  readonly dtype?: 'f32' | 'f16' | undefined;
  readonly weights?: WeightsChoice | undefined;
  readonly quantize?: readonly string[] | undefined;
  readonly keep?: readonly string[] | undefined;
}

/** Without a default of its own: what was typed and what was not differ where `--weights` says something else. */
export function dtypeOption(fallback: string): Option {
  return new Option('--dtype <dtype>', `storage of weights and activations (default: ${fallback})`).choices([
    'f32',
    'f16',
  ]);
}

export function weightsOption(): Option {
  return new Option(
    '--weights <format>',
    'how matrices are stored: q4 and q8 quantize them as they are loaded; f16 and f32 are --dtype, and unpack what is stored quantized',
  ).choices(['q4', 'q8', 'f16', 'f32']);
}

export function quantizeOption(): Option {
  return new Option('--quantize <globs...>', 'paths of the matrices that --weights is for; by default all');
}

export function keepOption(): Option {
  return new Option('--keep <globs...>', 'paths of matrices that --weights leaves alone');
}

/**
 * What the flags say about storage: of everything, and of matrices; `fallback` where neither names a dtype. Throws `OpabiniaError` for two
 * dtypes, and for globs that no format is given for.
 */
export function storageOf(
  { dtype, weights, quantize, keep }: StorageFlags,
  fallback: 'f32' | 'f16',
): {
  readonly dtype: 'f32' | 'f16';
  readonly weights?: QuantizeOptions | 'floats';
} {
  if (weights === 'q4' || weights === 'q8')
    return { dtype: dtype ?? fallback, weights: { format: weights, only: quantize, except: keep } };
  const idle = quantize === undefined ? (keep === undefined ? undefined : '--keep') : '--quantize';
  if (idle !== undefined)
    throw new OpabiniaError(`${idle} says nothing without --weights q4 or q8`, {
      advice: `give the format that ${idle === '--keep' ? 'other matrices' : 'these matrices'} are to have, or leave it out`,
    });
  if (dtype !== undefined && weights !== undefined && dtype !== weights)
    throw new OpabiniaError(
      `--dtype ${dtype} and --weights ${weights} are both the storage of weights and activations`,
      {
        advice: 'give one of them; --weights unpacks what is stored quantized, too',
      },
    );
  return weights === undefined ? { dtype: dtype ?? fallback } : { dtype: weights, weights: 'floats' };
}
