// The reference interpreter on a thread of its own: it computes while the driver still compiles kernels.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { evaluate, type Values } from '../../runtime/reference/reference.ts';
import { demoParams, traceDemo } from './model.ts';

export type DemoInputs = ReadonlyMap<string, Float32Array | Uint8Array>;

interface Task {
  readonly seed: number;
  readonly inputs: DemoInputs;
}

/** Outputs of the demo's model in double precision, by name. The thread traces the model itself: a graph holds functions. */
export function judge(task: Task): Promise<ReadonlyMap<string, Values>> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: task });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`the interpreter's thread ended with ${code}`)));
  });
}

if (!isMainThread && parentPort !== null) {
  const { seed, inputs } = workerData as Task;
  const params = demoParams(seed);
  parentPort.postMessage(
    evaluate(traceDemo(params), { inputs, params: (path, shape) => params.read(path, shape) }, { precision: 'f64' })
      .outputs,
  );
}
