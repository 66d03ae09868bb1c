// Convolutions of vision towers: patches to tokens, and ConvNeXt's depthwise filters.
import { conv2d, trace } from '../../dsl/index.ts';
import { patchConv } from '../../models/towers/tower.ts';
import { benchParams, uniform, type BenchCase, type Scale, type Work } from '../case.ts';

const source = benchParams();

function patches(scale: Scale): Work {
  const [side, patch, size] = scale === 'full' ? [336, 14, 1024] : [28, 7, 32];
  const graph = trace(source, (t) => ({
    y: patchConv(t.params.at('patch'), t.input('x', 'b h w c', { b: 1, h: side, w: side, c: 3 }), { patch, size }),
  }));
  return {
    graph,
    source,
    inputs: { x: uniform(side * side * 3, 1) },
    plain: { op: 'conv', side, from: 3, to: size, kernel: patch, stride: patch, padding: 0, depthwise: false },
  };
}

function depthwise(scale: Scale): Work {
  const [side, c] = scale === 'full' ? [64, 1536] : [9, 16];
  const graph = trace(source, (t) => ({
    y: conv2d(t.params.at('dw'), t.input('x', 'b h w c', { b: 1, h: side, w: side, c }), {
      out: 'c',
      size: c,
      kernel: 7,
      padding: 3,
      groups: c,
    }),
  }));
  return {
    graph,
    source,
    inputs: { x: uniform(side * side * c, 1) },
    plain: { op: 'conv', side, from: c, to: c, kernel: 7, stride: 1, padding: 3, depthwise: true },
  };
}

export const convolutionCases: readonly BenchCase[] = [
  {
    name: 'patch-embedding',
    about: 'convolution 14 × 14, stride 14, of a picture of 336 pixels to 1024 channels: CLIP ViT-L',
    build: patches,
  },
  {
    name: 'depthwise-7x7',
    about: 'depthwise convolution 7 × 7 of a map 64 × 64 × 1536: ConvNeXt-XXL, stage 3',
    build: depthwise,
  },
];
