// Golden kind of the connectors that SVA is compared with.
import { trace } from '../../../dsl/index.ts';
import { baselineConnector } from '../../../models/connectors/baselines.ts';
import { OutputRecorder } from '../golden-file.ts';
import type { Kind } from '../kind.ts';

export const baselineProjector: Kind = (file) => {
  const recorder = new OutputRecorder(file);
  const [b = 1, n = 1, c = 1] = file.shape('input.features');
  const graph = trace(
    file.checkpoint,
    (t) => {
      const features = t.input('features', 'b n c', { b, n, c }, file.dtype);
      recorder.take('tokens', baselineConnector(file.config.text('type'), t.params, features));
      return recorder.tensors;
    },
    { unread: ['input.', 'output.'] },
  );
  return { graph, inputs: new Map([['features', file.numbers('input.features')]]), host: new Map() };
};
