// Devices with matrix units that need not be there, and what Dawn's WGSL compiler says of kernels for them.
import type { PlanKernel } from '../../compiler/plan.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import type { Device } from '../../runtime/device/device.ts';

const halves = { from: 'f16', to: 'f32' } as const;

/** As drivers list them. */
export const paperProfiles: readonly DeviceProfile[] = [
  {
    ...desktopGpu,
    name: 'NVIDIA',
    subgroupSize: 32,
    matrices: [{ m: 16, n: 16, k: 16, ...halves }],
  },
  {
    ...desktopGpu,
    name: 'an H200, which has narrow units too',
    subgroupSize: 32,
    matrices: [
      { m: 16, n: 16, k: 16, ...halves },
      { m: 16, n: 8, k: 16, ...halves },
    ],
  },
  {
    ...desktopGpu,
    name: 'a driver with oblong units',
    subgroupSize: 32,
    matrices: [{ m: 8, n: 16, k: 16, ...halves }],
  },
  { ...desktopGpu, name: 'Apple', subgroupSize: 32, matrices: [{ m: 8, n: 8, k: 8, ...halves }] },
];

/** What Dawn's WGSL compiler says; the null backend's subgroups may have 128 lanes, and workgroups must be whole numbers of them. */
export async function complaints(paper: Device, kernel: PlanKernel): Promise<readonly string[]> {
  return paper.diagnose({ ...kernel, wgsl: kernel.wgsl.replace(/@workgroup_size\((32|64)\)/, '@workgroup_size(128)') });
}
