// Golden kinds of towers that read patches of pictures of any size: Qwen2.5-VL, Qwen3-VL, SigLIP 2 NaFlex.
import { trace, type Tensor, type Trace } from '../../../dsl/index.ts';
import { naflexConfig, naflexVision } from '../../../models/towers/naflex.ts';
import type { FrameGrid } from '../../../models/towers/patch-sequence.ts';
import { qwenTowerConfig, type QwenTowerConfig } from '../../../models/towers/qwen-vl-config.ts';
import { qwenVision } from '../../../models/towers/qwen-vl.ts';
import { rootOf, type Grid } from '../../../models/towers/tower.ts';
import { OutputRecorder, type GoldenFile } from '../golden-file.ts';
import type { Kind } from '../kind.ts';
import { modelTolerance } from '../verdict.ts';

type Take = (name: string, make: () => Tensor) => void;

const kind =
  (inputs: readonly string[], build: (t: Trace, file: GoldenFile, take: Take) => void): Kind =>
  (file) => {
    const recorder = new OutputRecorder(file);
    const graph = trace(
      file.checkpoint,
      (t) => {
        build(t, file, (name, make) => {
          if (recorder.wants(name)) recorder.take(name, make());
        });
        return recorder.tensors;
      },
      { unread: ['input', 'output', 'vision_model.head'] },
    );
    return {
      graph,
      inputs: new Map(inputs.map((name) => [name, file.numbers(`input.${name}`)])),
      host: new Map(),
      tolerance: () => modelTolerance,
    };
  };

/** Rows of three: frames, rows and columns of each picture. */
export function frameGrids(file: GoldenFile): readonly FrameGrid[] {
  const numbers = file.numbers('input.image_grid_thw');
  return Array.from({ length: numbers.length / 3 }, (_, i): FrameGrid => [
    numbers[3 * i] ?? 1,
    numbers[3 * i + 1] ?? 1,
    numbers[3 * i + 2] ?? 1,
  ]);
}

const qwen = (of: QwenTowerConfig['kind']): Kind =>
  kind(['pixel_values'], (t, file, take) => {
    const root = rootOf(t.params, ['visual', 'model.visual', ''], 'patch_embed.proj.weight');
    const [n, k] = [file.size('input.pixel_values', 0), file.size('input.pixel_values', 1)];
    const patches = t.input('pixel_values', 'n k', { n, k }, file.dtype);
    const encoded = qwenVision(root, patches, frameGrids(file), qwenTowerConfig(file.config, of));
    take('embeddings', () => encoded.embeddings);
    take('block0', () => encoded.hidden[1] ?? encoded.embeddings);
    take('hidden_last', () => encoded.hidden.at(-1) ?? encoded.embeddings);
    take('merged', () => encoded.merged);
    encoded.deepstack.forEach((each, i) => take(`deepstack${i}`, () => each));
  });

export const qwen25Tower = qwen('qwen2.5');
export const qwen3Tower = qwen('qwen3');

export const naflex = kind(['pixel_values', 'pixel_attention_mask'], (t, file, take) => {
  const [b = 1, n = 1, k = 1] = file.shape('input.pixel_values');
  const shapes = file.numbers('input.spatial_shapes');
  const encoded = naflexVision(
    t.params,
    {
      patches: t.input('pixel_values', 'b n k', { b, n, k }, file.dtype),
      attend: t.input('pixel_attention_mask', 'b n', { b, n }, 'bool'),
      grids: Array.from({ length: b }, (_, i): Grid => [shapes[2 * i] ?? 1, shapes[2 * i + 1] ?? 1]),
    },
    naflexConfig(file.config),
  );
  take('embeddings', () => encoded.embeddings);
  take('block0', () => encoded.hidden[1] ?? encoded.embeddings);
  take('penultimate', () => encoded.hidden.at(-2) ?? encoded.embeddings);
  take('pre_norm', () => encoded.hidden.at(-1) ?? encoded.embeddings);
  take('last_hidden_state', () => encoded.last);
  take('pooler_output', encoded.pooled);
});
