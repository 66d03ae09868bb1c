// Golden kind of image preprocessing: pad to a square, resize as Pillow does, normalise. All of it on the host.
import { OpabiniaError } from '../../../dsl/error.ts';
import { expandToSquare, normalize, resizePillow, type Rgb } from '../../../runtime/image.ts';
import type { Kind } from '../kind.ts';
import type { Numbers } from '../../../runtime/values.ts';

export const preprocess: Kind = (file) => {
  const host = new Map<string, Numbers>();
  for (const one of file.config.list('cases')) {
    const index = one.number('index');
    const rgb = Uint8Array.from(file.numbers(`input.rgb_${index}`));
    const square = expandToSquare({ height: file.size(`input.rgb_${index}`, 0), width: file.size(`input.rgb_${index}`, 1), rgb }, triple(one.numbers('background')));
    const resized = resizePillow(square, one.number('resolution'), one.number('resolution'), 'bicubic');
    host.set(`square_${index}`, square.rgb);
    host.set(`resized_${index}`, resized.rgb);
    host.set(`chw_${index}`, normalize(resized, triple(one.numbers('mean')), triple(one.numbers('std')), 'chw'));
  }
  return { inputs: new Map(), host };
};

function triple(values: readonly number[]): Rgb {
  const [r, g, b] = values;
  if (r === undefined || g === undefined || b === undefined) throw new OpabiniaError(`a colour has three channels, not ${values.length}`, { op: 'verify' });
  return [r, g, b];
}
