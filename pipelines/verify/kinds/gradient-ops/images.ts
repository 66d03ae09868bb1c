// Convolution, pooling and resizing of `b c h w`, as PyTorch lays images out.
import {
  adaptiveAvgPool2d,
  avgPool2d,
  conv2d,
  gradients,
  maxPool2d,
  pixelShuffle,
  resize,
  type Tensor,
} from '../../../../dsl/index.ts';
import { given, reducedOver, sizeAt, turned, type Case, type OpOf, type T } from './case.ts';

type Image = Tensor<'b h w c', 'f32'>;

const last = (x: T): Image => turned(x, 'b c h w -> b h w c') as Tensor as Image;
const first = (x: Tensor): T => turned(x as T, 'b h w c -> b c h w');
const image = (c: Case): Image => last(c.x('x', 'b c h w'));

const pooled =
  (f: (x: Image, options: { kernel: number; stride: number; padding: number }, c: Case) => Tensor): OpOf =>
  (c) => {
    const kernel = c.attrs.number('kernel');
    return first(
      f(image(c), { kernel, stride: c.attrs.number('stride', kernel), padding: c.attrs.number('padding', 0) }, c),
    );
  };

function convolved(c: Case, x: Image, weight: T, groups: number): Image {
  const bias = c.has('bias');
  const params = given({ weight, ...(bias ? { bias: c.x('bias') } : {}) });
  return conv2d(params, x, {
    out: 'c',
    kernel: [sizeAt(weight, 2), sizeAt(weight, 3)],
    stride: c.attrs.number('stride', 1),
    padding: c.attrs.number('padding', 0),
    dilation: c.attrs.number('dilation', 1),
    groups,
    bias,
  }) as Tensor as Image;
}

export const images: Readonly<Record<string, OpOf>> = {
  conv2d: (c) => first(convolved(c, image(c), c.x('weight'), c.attrs.number('groups', 1))),
  // The transpose of a convolution is what it gives back to its input.
  conv_transpose2d: (c) => {
    const [x, weight] = [image(c), c.x('weight')];
    const [stride, padding, dilation, groups] = [
      c.attrs.number('stride', 1),
      c.attrs.number('padding', 0),
      c.attrs.number('dilation', 1),
      c.attrs.number('groups', 1),
    ];
    const extent = (n: number, kernel: number) =>
      (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + c.attrs.number('output_padding', 0) + 1;
    const [h, w] = [extent(x.size('h'), sizeAt(weight, 2)), extent(x.size('w'), sizeAt(weight, 3))];
    const zeros = c.t.constant(0, 'b h w c', { b: x.sizeOf('b'), h, w, c: sizeAt(weight, 1) * groups });
    const seen = conv2d(given({ weight }), zeros, {
      out: 'c',
      kernel: [sizeAt(weight, 2), sizeAt(weight, 3)],
      stride,
      padding,
      dilation,
      groups,
      bias: false,
    }) as Tensor as Image;
    const [back] = gradients(reducedOver(seen.mul(x) as Tensor as T, [0, 1, 2, 3], 'sum'), [zeros]);
    return first(c.has('bias') ? back.add(c.x('bias', 'c') as Tensor as Tensor<'c', 'f32'>) : back);
  },
  avg_pool2d: pooled((x, options, c) =>
    avgPool2d(x, { ...options, countPadding: c.attrs.flag('count_include_pad', true) }),
  ),
  max_pool2d: pooled((x, options) => maxPool2d(x, options)),
  adaptive_avg_pool2d: (c) => {
    const [height = 1, width = 1] = c.attrs.numbers('output');
    return first(adaptiveAvgPool2d(image(c), { height, width }));
  },
  pixel_shuffle: (c) => first(pixelShuffle(image(c), c.attrs.number('factor'))),
  interpolate: (c) => {
    const [height = 1, width = 1] = c.attrs.numbers('size');
    const mode = c.attrs.text('mode') === 'bicubic' ? 'bicubic' : 'bilinear';
    return first(resize(image(c), { height, width, mode, antialias: c.attrs.flag('antialias', false) }));
  },
};
