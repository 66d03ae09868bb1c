// `opabinia doctor`: the adapter, its driver, features and limits, and for whatever is missing what to do, in one line.
import type { Command } from 'commander';
import type { DeviceFacts } from '../runtime/device/device.ts';
import { printBytes } from '../runtime/device/memory-budget.ts';
import { installedVersion, packageVersion } from '../runtime/files/package-files.ts';
import { probe } from '../pipelines/setup/adapter.ts';
import { whatToDo } from '../pipelines/setup/set-up.ts';
import { formatTable } from '../dsl/text/table.ts';
import { say } from './output.ts';

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('adapter, driver, features, limits, what is missing, and advice')
    .option('--json', 'print the facts as JSON')
    .action((options: { readonly json?: boolean }) => {
      const found = probe();
      const onnxRuntime = installedVersion(onnxPackage);
      if (options.json === true) say(JSON.stringify({ ...found, onnxRuntime }, undefined, 2));
      else if (found.found === 'adapter') say(report(found.facts, onnxRuntime));
      else say(`adapter   none\n\n${whatToDo(found)}\n\n${withoutGpu(onnxRuntime)}`);
      if (found.found !== 'adapter') process.exitCode = 3;
    });
}

/** What a healthy machine has; `advice` is said where it has not. */
const wishes: readonly { readonly what: string; has(facts: DeviceFacts): boolean; readonly advice: string }[] = [
  {
    what: 'a GPU',
    has: (f) => !f.software,
    advice:
      'runs on the CPU now; with a GPU in the machine, install its Vulkan driver (NVIDIA: the proprietary one with libnvidia-gl; AMD, Intel: mesa-vulkan-drivers)',
  },
  {
    what: 'shader-f16',
    has: (f) => f.features.includes('shader-f16'),
    advice: 'update the driver; models run in f32 until then',
  },
  {
    what: 'subgroups',
    has: (f) => f.features.includes('subgroups'),
    advice: 'update the driver; kernels use workgroup memory instead',
  },
  {
    what: 'timestamp-query',
    has: (f) => f.features.includes('timestamp-query'),
    advice: 'update the driver; profiles use wall time until then',
  },
  {
    what: 'subgroup matrices',
    has: (f) => f.matrices.length > 0,
    advice:
      'need a GPU with matrix units and a driver with VK_KHR_cooperative_matrix (NVIDIA 535, Mesa 24); contractions use plain arithmetic until then',
  },
];

const onnxPackage = 'onnxruntime-node';

/** What a machine without a GPU is told. */
function withoutGpu(onnxRuntime: string | undefined): string {
  const how = '`run`, `eval` and `serve` with --device cpu';
  return onnxRuntime === undefined
    ? `Until there is a GPU, ${how} answer on ONNX Runtime, faster than a software driver as a rule, once it is installed:\n  npm install ${onnxPackage}`
    : `Until there is a GPU, ${how} answer on ONNX Runtime ${onnxRuntime}, which is installed: faster than a software driver as a rule.`;
}

/** `onnxRuntime`: the version that is installed, or undefined. */
export function report(facts: DeviceFacts, onnxRuntime: string | undefined): string {
  const { limits } = facts;
  const lanes =
    facts.subgroups === undefined
      ? 'unknown'
      : facts.subgroups.least === facts.subgroups.most
        ? String(facts.subgroups.least)
        : `${facts.subgroups.least} to ${facts.subgroups.most}`;
  const lines = [
    ['adapter', `${facts.name} (${[facts.vendor, facts.architecture].filter((text) => text !== '').join(', ')})`],
    ['driver', facts.driver],
    ['runs on', facts.software ? 'the CPU' : 'a GPU'],
    ['subgroup lanes', lanes],
    [
      'matrices',
      facts.matrices.length === 0
        ? 'none'
        : facts.matrices.map(({ m, n, k, from, to }) => `${m}x${n}x${k} ${from}->${to}`).join(', '),
    ],
    ['buffer', printBytes(limits.maxBufferSize)],
    [
      'binding',
      `${printBytes(limits.maxStorageBufferBindingSize)}, ${limits.maxStorageBuffersPerShaderStage} a kernel, at multiples of ${limits.minStorageBufferOffsetAlignment}`,
    ],
    [
      'workgroup',
      `${limits.maxComputeInvocationsPerWorkgroup} threads, ${printBytes(limits.maxComputeWorkgroupStorageSize)}, grid up to ${limits.maxComputeWorkgroupsPerDimension}`,
    ],
    [onnxPackage, onnxRuntime ?? 'not installed'],
    ['versions', `Node ${process.versions.node}, webgpu ${packageVersion('webgpu')}, opabinia ${packageVersion()}`],
  ];
  const width = Math.max(...lines.map(([name = '']) => name.length));
  const facing = lines.map(([name = '', value = '']) => `${name.padEnd(width)}  ${value}`).join('\n');
  const table = formatTable(
    [{ title: 'wanted' }, { title: 'here' }, { title: 'advice' }],
    wishes.map(({ what, has, advice }) => (has(facts) ? [what, 'yes', ''] : [what, 'no', advice])),
  );
  return `${facing}\n\n${table}${facts.software ? `\n\n${withoutGpu(onnxRuntime)}` : ''}`;
}
