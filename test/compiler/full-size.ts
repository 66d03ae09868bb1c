// The graphs that the goals for the compiler speak of, at full size: parts of a ViT, an SVA layer, Cambrian-8B's connector.
import { attention, gelu, layerNorm, linear, randomParams, softmax, trace, type Graph } from '../../dsl/index.ts';
import { visionCrossAttentionLayer } from '../../models/parts/sva/layer.ts';
import { spatialVisionAggregator } from '../../models/parts/sva/aggregator.ts';
import { block, square } from './models.ts';

/** linear → gelu → linear + residual: 577 tokens. */
export function mlp(c = 768): Graph {
  return trace(square(c), (t) => {
    const x = t.input('x', 'b n c', { b: 1, n: 577, c });
    return { y: x.add(linear(t.params.at('down'), gelu(linear(t.params.at('up'), x, 'f'), 'exact'), 'c')) };
  });
}

export function norm(c: number): Graph {
  return trace(square(c), (t) => ({ y: layerNorm(t.params.at('norm'), t.input('x', 'b n c', { b: 1, n: 577, c })) }));
}

export function softmaxOver(c: number): Graph {
  return trace(randomParams(1), (t) => ({ y: softmax(t.input('x', 'b n c', { b: 1, n: 577, c }), 'c') }));
}

export function attentionOf(d: number, variant: 'full' | 'causal' | 'grouped' | 'per region'): Graph {
  return trace(randomParams(1), (t) => {
    const region = variant === 'per region';
    const query = t.input('q', variant === 'grouped' ? 'b h g n d' : 'b h n d', {
      b: 1,
      h: 4,
      ...(variant === 'grouped' ? { g: 4 } : {}),
      n: 577,
      d,
    });
    const keys = (name: string) =>
      t.input(name, region ? 'b h n t d' : 'b h t d', {
        b: 1,
        h: 4,
        ...(region ? { n: 577 } : {}),
        t: region ? 19 : 577,
        d,
      });
    return {
      y: attention<string, string, string, 'f32'>(query, keys('k'), keys('v'), {
        key: 't',
        along: 'd',
        causal: variant === 'causal',
      }),
    };
  });
}

/** Pre-norm blocks of a ViT, 577 tokens of width c. */
export function vit(layers: number, c: number, heads: number): Graph {
  return trace(square(c), (t) => {
    const x = t.input('x', 'b n c', { b: 1, n: 577, c });
    return {
      y: Array.from({ length: layers }, (_, i) => i).reduce(
        (y, i) => block(t.params.at('layers', i), y, heads),
        x as Parameters<typeof block>[1],
      ),
    };
  });
}

/** One layer of the SVA as released: four encoders with 1, 1, 1 and 16 tokens a region, 576 queries of width 1024. */
export function svaLayer(): Graph {
  return trace(randomParams(1), (t) => {
    const regions = [1, 1, 1, 16].map((n, k) => t.input(`x${k}`, 'b q t c', { b: 1, q: 576, t: n, c: 1024 }));
    return {
      y: visionCrossAttentionLayer(t.params, t.input('query', 'b q c', { b: 1, q: 576, c: 1024 }), {
        context: t.input('context', 'b c', { b: 1, c: 1024 }),
        regions,
      }),
    };
  });
}

/** Cambrian-8B's: four encoders at 576, 576, 576 and 9216 tokens, three layers of width 1024, to a language model of width 4096. */
export function connector(): Graph {
  return trace(randomParams(1), (t) => {
    const maps = (
      [
        [24, 1152],
        [24, 1024],
        [24, 1536],
        [96, 5760],
      ] as const
    ).map(([side, c], k) => t.input(`map${k}`, 'b h w c', { b: 1, h: side, w: side, c }));
    return {
      y: spatialVisionAggregator(t.params.at('model'), maps, {
        groups: [24],
        depth: 3,
        side: 24,
        width: 1024,
        llmWidth: 4096,
      }).tokens,
    };
  });
}

/** By name, for tables and for tests that take each. */
export const fullSize: Readonly<Record<string, () => Graph>> = {
  'MLP of a ViT-B': () => mlp(),
  'block of a ViT-L': () => vit(1, 1024, 16),
  'ViT-B, 12 layers': () => vit(12, 768, 12),
  'SVA layer': svaLayer,
  "Cambrian-8B's connector": connector,
};
