// Golden kinds of single SVA layers and samplers: rows of one query each, with their own regions, masks and context.
import { OpabiniaError, trace, type Tensor, type Trace } from '../../../dsl/index.ts';
import { visionAggregationLayer } from '../../../models/parts/sva/separate-layer.ts';
import type { Queries } from '../../../models/sequence/regions.ts';
import { visionCrossAttentionLayer, type Sight } from '../../../models/parts/sva/layer.ts';
import { visionTokenSampler } from '../../../models/parts/sva/aggregator.ts';
import { OutputRecorder, type GoldenFile } from '../golden-file.ts';
import { gradientTolerance, takeGradients, weightedLoss } from '../golden-gradients.ts';
import type { GoldenModel, Kind } from '../kind.ts';

type Build = (t: Trace, query: Queries, sight: Sight, recorder: OutputRecorder, file: GoldenFile) => Queries;

const kind =
  (build: Build): Kind =>
  (file): GoldenModel => {
    const encoders = file.count('input.kv_');
    const masked = file.has('input.mask_0');
    const recorder = new OutputRecorder(file);
    const graph = trace(
      file.checkpoint,
      (t) => {
        const rows = file.size('input.queries', 0);
        const query = t.input('queries', 'b q c', { b: rows, q: 1, c: file.size('input.queries', 2) }, file.dtype);
        const context = t.input('context', 'b c', { b: rows, c: file.size('input.context', 2) }, file.dtype);
        const all = Array.from({ length: encoders }, (_, k) => k);
        const regions = all.map((k) =>
          t.input(
            `kv_${k}`,
            'b q t c',
            { b: rows, q: 1, t: file.size(`input.kv_${k}`, 1), c: file.size(`input.kv_${k}`, 2) },
            file.dtype,
          ),
        );
        const masks = masked
          ? all.map((k) => t.input(`mask_${k}`, 'b q t', { b: rows, q: 1, t: file.size(`input.mask_${k}`, 1) }, 'bool'))
          : undefined;
        const queries = build(t, query, { context, regions, masks }, recorder, file);
        recorder.take('queries', queries);
        if (file.gradients.length > 0) {
          const given = new Map<string, Tensor>(regions.map((region, k) => [`kv_${k}`, region]));
          takeGradients(
            t,
            file,
            recorder,
            weightedLoss(t, file, recorder, queries),
            given.set('queries', query).set('context', context),
          );
        }
        return recorder.tensors;
      },
      { unread: ['input.', 'output.', 'grad.', 'upstream.'] },
    );
    const names = [
      'queries',
      'context',
      ...Array.from({ length: encoders }, (_, k) => (masked ? [`kv_${k}`, `mask_${k}`] : [`kv_${k}`])).flat(),
    ];
    const given = new Map(names.map((name) => [name, file.numbers(`input.${name}`)]));
    if (file.gradients.length === 0) return { graph, inputs: given, host: new Map() };
    const inputs = new Map([...given, ['upstream', file.numbers('upstream.queries')]]);
    return { graph, inputs, host: new Map(), gradients: true, tolerance: gradientTolerance(file, 1e-4, 1e-6) };
  };

/** `layer`: where a layer's parameters stand; they say how wide it is inside. */
const options = (recorder: OutputRecorder, file: GoldenFile, layer = '') => ({
  heads: file.config.number('num_heads', 16),
  hidden: file.size(`${layer}proj_context.weight`, 0),
  inspect: recorder.inspect,
});

export const crossAttentionLayer = kind((t, query, sight, recorder, file) =>
  visionCrossAttentionLayer(t.params, query, sight, options(recorder, file)),
);

export const aggregationLayer = kind((t, query, sight, recorder, file) =>
  visionAggregationLayer(t.params, query, sight, options(recorder, file)),
);

export const tokenSampler = kind((t, query, sight, recorder, file) =>
  visionTokenSampler(t.params, query, sight, {
    ...options(recorder, file, 'layers.0.'),
    depth: file.config.number('D'),
    layer: file.config.text('layer_type', 'joint') === 'sep' ? 'sep' : 'joint',
  }),
);

const modules: ReadonlyMap<string, Kind> = new Map([
  ['VisionCrossAttentionLayer', crossAttentionLayer],
  ['VisionAggregationLayer', aggregationLayer],
  ['VisionTokenSampler', tokenSampler],
]);

/** Gradients of Σ queries · upstream by every parameter, input and intermediate activation of one of the three. */
export const svaGradients: Kind = (file) => {
  const name = file.config.text('module');
  const module = modules.get(name);
  if (module !== undefined) return module(file);
  throw new OpabiniaError(`there is no module '${name}'`, {
    op: 'verify',
    advice: `known are ${[...modules.keys()].join(', ')}`,
  });
};
