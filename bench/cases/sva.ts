// One layer of the Spatial Vision Aggregator with Cambrian-8B's encoders: as released, with keys and values projected for every token, and as
// our passes re-associate it. Peers run the same graph in both.
import { trace } from '../../dsl/index.ts';
import { regionsOf } from '../../models/sequence/regions.ts';
import { visionCrossAttentionLayer } from '../../models/parts/sva/layer.ts';
import { benchParams, uniform, type BenchCase, type Scale, type Work } from '../case.ts';

const source = benchParams();

function layer(scale: Scale): Work {
  const [side, sides, c, heads] = scale === 'full' ? [24, [24, 24, 24, 96], 1024, 16] : [3, [3, 6], 32, 2];
  const graph = trace(source, (t) => {
    const query = t.input('query', 'b q c', { b: 1, q: side * side, c });
    const context = t.input('context', 'b c', { b: 1, c });
    const regions = sides.map((h, k) => regionsOf(t.input(`map_${k}`, 'b h w c', { b: 1, h, w: h, c }), side));
    return { y: visionCrossAttentionLayer(t.params.at('layers', 0), query, { context, regions }, { heads }) };
  });
  const maps = Object.fromEntries(sides.map((h, k) => [`map_${k}`, uniform(h * h * c, 10 + k, 1.7)]));
  return { graph, source, inputs: { query: uniform(side * side * c, 1, 1.7), context: uniform(c, 2, 1.7), ...maps } };
}

const sizes = '576 queries over encoders of 576, 576, 576 and 9216 tokens, width 1024, 16 heads';

export const svaCases: readonly BenchCase[] = [
  {
    name: 'sva-layer-direct',
    about: `one SVA layer as released: ${sizes}; our side without the pass 'absorption'`,
    build: (scale) => ({ ...layer(scale), without: ['absorption'] }),
  },
  { name: 'sva-layer', about: `one SVA layer, re-associated by our passes: ${sizes}`, build: layer },
];
