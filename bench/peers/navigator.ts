// A browser's `navigator.gpu` for libraries that expect one. They bring their own use of WebGPU, so this is the one place besides
// runtime/dawn.ts that loads the package `webgpu`: in the process of a peer, where nothing of ours runs.
import { availableParallelism } from 'node:os';

declare global {
  /** Once collected, the process crashes: see runtime/dawn.ts. */
  var benchDawn: GPU | undefined;
}

export async function provideNavigator(): Promise<void> {
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  globalThis.benchDawn ??= create(['enable-dawn-features=skip_validation,disable_robustness']);
  const value = { gpu: globalThis.benchDawn, userAgent: 'Node', hardwareConcurrency: availableParallelism() };
  Object.defineProperty(globalThis, 'navigator', { value, configurable: true, writable: true });
}
