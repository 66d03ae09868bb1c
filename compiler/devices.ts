// Devices by name, for plans and estimates without one: limits, and what arithmetic and memory do at best, each with where it is from.
import { OpabiniaError } from '../dsl/error.ts';
import { nameAdvice } from '../dsl/text/near-names.ts';
import { h200 } from './measured.ts';
import { desktopGpu, lavapipe, type DeviceProfile } from './profile.ts';

export interface KnownDevice {
  readonly profile: DeviceProfile;
  /** Where its speeds are from. */
  readonly source: string;
}

/** Arithmetic is f32 on ordinary units, which WGSL has everywhere; matrix units are behind a feature that no standard has yet. */
function desktop(name: string, flopsPerSecond: number, bytesPerSecond: number): DeviceProfile {
  return { ...desktopGpu, name, flopsPerSecond, bytesPerSecond };
}

export const devices: Readonly<Record<string, KnownDevice>> = {
  h100: {
    profile: desktop('H100', 66.9e12, 3.35e12),
    source: 'NVIDIA H100 SXM data sheet: 67 TFLOP/s FP32, 3.35 TB/s',
  },
  h200: {
    profile: {
      ...desktop('H200', h200.flopsPerSecond, h200.bytesPerSecond),
      subgroupSize: 32,
      matrices: [
        { m: 16, n: 16, k: 16, from: 'f16', to: 'f32' },
        { m: 16, n: 8, k: 16, from: 'f16', to: 'f32' },
        { m: 16, n: 8, k: 8, from: 'f16', to: 'f32' },
      ],
      maxBindings: 16,
      maxBufferBytes: 2 ** 40,
      maxWorkgroupBytes: 49152,
      maxWorkgroupThreads: 1024,
      choices: h200.choices,
    },
    source: h200.source,
  },
  'rtx-4090': {
    profile: desktop('RTX 4090', 82.6e12, 1.008e12),
    source: 'NVIDIA Ada GPU architecture whitepaper, table 1: 82.6 TFLOP/s FP32, 1008 GB/s',
  },
  'm3-max': {
    profile: desktop('M3 Max', 14.1e12, 0.4e12),
    source: 'Apple: 40 cores, 400 GB/s; 40 cores · 128 lanes · 2 · 1.38 GHz = 14.1 TFLOP/s FP32',
  },
  desktop: { profile: desktopGpu, source: 'limits of every WebGPU adapter of the class; speeds of a middling card' },
  lavapipe: { profile: lavapipe, source: 'Mesa lavapipe on two cores, measured: docs/performance.md' },
};

/** Throws `OpabiniaError` with the nearest names. */
export function deviceNamed(name: string): KnownDevice {
  const known = devices[name];
  if (known !== undefined && Object.hasOwn(devices, name)) return known;
  throw new OpabiniaError(`there is no device '${name}'`, {
    op: 'device',
    advice: nameAdvice(name, Object.keys(devices)),
  });
}
