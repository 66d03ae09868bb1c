// Golden kind of bilinear resizing without aligned corners: many small pictures, channels first as PyTorch has them.
import { rearrange, resize, trace } from '../../../dsl/index.ts';
import { OutputRecorder } from '../golden-file.ts';
import type { Kind } from '../kind.ts';

export const bilinear: Kind = (file) => {
  const recorder = new OutputRecorder(file);
  const cases = Array.from({ length: file.count('input.x_') }, (_, i) => i);
  const graph = trace(
    file.checkpoint,
    (t) => {
      for (const i of cases) {
        const [b = 1, c = 1, h = 1, w = 1] = file.shape(`input.x_${i}`);
        const x = rearrange(t.input(`x_${i}`, 'b c h w', { b, c, h, w }, file.dtype), 'b c h w -> b h w c');
        const y = resize(x, {
          height: file.size(`output.y_${i}`, 2),
          width: file.size(`output.y_${i}`, 3),
          mode: 'bilinear',
        });
        recorder.take(`y_${i}`, rearrange(y, 'b h w c -> b c h w'));
      }
      return recorder.tensors;
    },
    { unread: ['input.', 'output.'] },
  );
  return { graph, inputs: new Map(cases.map((i) => [`x_${i}`, file.numbers(`input.x_${i}`)])), host: new Map() };
};
