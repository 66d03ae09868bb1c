// `--device`: where `run`, `eval` and `serve` run a model.
import { Option } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import type { Place } from '../pipelines/run/engine.ts';
import { openDevice } from '../runtime/device/dawn.ts';
import { storageOf, type StorageFlags } from './weights-options.ts';

export type DeviceChoice = 'gpu' | 'cpu';

export function deviceOption(): Option {
  return new Option(
    '--device <device>',
    'gpu: what Dawn finds, a software driver too; cpu: ONNX Runtime, of the package onnxruntime-node, in f32',
  )
    .choices(['gpu', 'cpu'])
    .default('gpu');
}

/** Throws `DeviceError`, and `OpabiniaError` where what it takes is not installed. */
export async function openPlace(device: DeviceChoice): Promise<Place> {
  if (device === 'gpu') return openDevice({ compileAhead: true });
  // Only who asks for it loads the exporter.
  const { openCpu } = await import('../pipelines/run/cpu/open-cpu.ts');
  return openCpu();
}

/**
 * As `storageOf`; on the CPU everything is f32, and weights that are stored quantized are decoded. Throws `OpabiniaError` for a storage
 * that was asked for and is not to be had there.
 */
export function storageOn(flags: StorageFlags & { readonly device: DeviceChoice }): ReturnType<typeof storageOf> {
  const asked = storageOf(flags, 'f32');
  if (flags.device === 'gpu') return asked;
  const refused = flags.weights === undefined || flags.weights === 'f32' ? undefined : `--weights ${flags.weights}`;
  const other = refused ?? (flags.dtype === 'f16' ? '--dtype f16' : undefined);
  if (other !== undefined)
    throw new OpabiniaError(`${other} is asked for with --device cpu, where ONNX Runtime computes in f32`, {
      advice: 'leave it out: weights of any format are read as f32 there',
    });
  return { dtype: 'f32', weights: 'floats' };
}
