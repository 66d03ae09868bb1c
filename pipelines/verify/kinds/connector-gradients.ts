// Golden kind `grad.connector`: the connector under a language model, its next-token loss, and gradients by everything.
import { linearCrossEntropy, slice, trace, type Tensor } from '../../../dsl/index.ts';
import { decodeWithVision } from '../../../models/multimodal/cambrian.ts';
import { decoderLayers, finalNorm, logitsOf, openTurn } from '../../../models/decoders/decoder.ts';
import { llama } from '../../../models/decoders/llama.ts';
import { turnTables } from '../../../models/decoders/turn-graph.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import { gradientTolerance, takeGradients } from '../golden-gradients.ts';
import { OutputRecorder } from '../golden-file.ts';
import type { Kind } from '../kind.ts';
import { connected, hostOutputs, readSetting, type Setting } from './pipeline.ts';

export const connectorGradients: Kind = (file) => {
  const setting = counted(readSetting(file));
  const { batch } = setting;
  const model = llama(file.config.raw('llm'), file.path);
  const recorder = new OutputRecorder(file, 'model.');
  const inputs = new Map<string, Numbers>();
  const graph = trace(
    file.checkpoint,
    (t) => {
      const { root, embeds, features, vision } = connected(t, setting, recorder, inputs);
      const { cos, sin } = turnTables(model.config, batch.positions);
      inputs.set('cos', cos).set('sin', sin).set('attend', batch.attend).set('labels', batch.labels);
      const turn = openTurn(t, model.config, { batch: batch.samples, length: batch.length, padded: true });
      const looks = file.config.flag('connector_only', false) ? undefined : vision();
      const last = decodeWithVision(root, embeds, decoderLayers(root, model, turn), looks);
      const normed = finalNorm(t.params, model.config, last);
      recorder.take('logits', logitsOf(t.params, model.config, normed));
      const labels = t.input('labels', 'b s', { b: batch.samples, s: batch.length }, 'i32');
      const head = t.params.at(model.config.tied ? 'model.embed_tokens' : 'lm_head').get('weight', 'v e');
      const loss = linearCrossEntropy(
        slice(normed, 's', { size: batch.length - 1 }),
        head,
        slice(labels, 's', { start: 1 }),
        { ignore: file.config.number('ignore_index', -100) },
      );
      recorder.take('loss', loss);
      const seen = new Map<string, Tensor>([['inter.inputs_embeds', embeds]]);
      takeGradients(t, file, recorder, loss, features, seen);
      return recorder.tensors;
    },
    { unread: ['input.', 'output.', 'grad.'] },
  );
  const ofGradients = gradientTolerance(file, 2e-4, 2e-6);
  return {
    graph,
    inputs,
    host: hostOutputs(setting),
    gradients: true,
    tolerance: (output) => (output === 'loss' ? { absolute: 1e-5, relative: 0 } : ofGradients(output)),
  };
};

/** In the inference layout the language model is given no positions: it counts on through the padding. */
function counted(setting: Setting): Setting {
  const { batch } = setting;
  if (setting.collated !== undefined) return setting;
  const positions = Int32Array.from({ length: batch.samples * batch.length }, (_, i) => i % batch.length);
  return { ...setting, batch: { ...batch, positions } };
}
