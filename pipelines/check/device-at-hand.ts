// The device that `run` would open here, looked at and let go.
import type { DeviceProfile } from '../../compiler/profile.ts';
import { deviceProfile, openDevice, type OpenOptions } from '../../runtime/device/dawn.ts';
import { DeviceError } from '../../runtime/device/failure.ts';
import { freeOn, type MemoryLimit } from '../../runtime/program/memory-check.ts';

export interface DeviceAtHand {
  readonly profile: DeviceProfile;
  /** What it offers; without bound where its driver does not tell. */
  readonly limit: MemoryLimit;
}

/** Undefined where there is none. */
export async function deviceAtHand(options: OpenOptions = {}): Promise<DeviceAtHand | undefined> {
  try {
    const device = await openDevice(options);
    const found = { profile: deviceProfile(device), limit: freeOn(device) };
    device.close();
    return found;
  } catch (error) {
    if (error instanceof DeviceError) return undefined;
    throw error;
  }
}
