// Opens the CPU as a place for models: ONNX Runtime's process, and a folder for what it reads.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeMemory } from '../../../runtime/device/memory-budget.ts';
import { packageVersion } from '../../../runtime/files/package-files.ts';
import { OnnxRuntime } from '../../../runtime/onnx/onnx-runtime.ts';
import type { CpuPlace } from '../engine.ts';
import { CpuEngine } from './cpu-engine.ts';

/**
 * ONNX Runtime's CPU provider, on which our own exports run in f32. Weights are written to a folder of temporary files, which goes with `close`, or
 * with the process unless that is killed. Throws `NoOnnxRuntimeError` where the package `onnxruntime-node` is not installed.
 * @example const session = await Session.open(await openModel('owner/name', { weights: 'floats' }), await openCpu())
 */
export async function openCpu(): Promise<CpuPlace> {
  const runtime = new OnnxRuntime();
  try {
    await runtime.ready();
  } catch (error) {
    runtime.close();
    throw error;
  }
  const folder = mkdtempSync(join(tmpdir(), 'opabinia-cpu-'));
  const facts = { name: `the CPU (ONNX Runtime ${packageVersion('onnxruntime-node')})`, software: true } as const;
  const close = (): void => {
    process.off('exit', close);
    runtime.close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  process.once('exit', close);
  let engines = 0;
  return {
    facts,
    get memory() {
      return runtime.memory;
    },
    engine: (source) =>
      new CpuEngine(
        { runtime, folder, name: String(engines++), limit: () => ({ device: facts.name, budget: freeMemory() }) },
        source,
      ),
    close,
  };
}
