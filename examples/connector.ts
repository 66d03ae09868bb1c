// A new connector from scratch: pool each region of each encoder, then let every position weigh the encoders against one another.
// Change a name in one of the patterns, and the editor says what is wrong with it.
import {
  einsum,
  gelu,
  layerNorm,
  linear,
  load,
  openDevice,
  randomParams,
  rearrange,
  reduce,
  softmax,
  stack,
  trace,
} from '../index.ts';
import type { Float, Params, Tensor } from '../index.ts';

type FeatureMap = Tensor<'b h w c', Float>; // one encoder's tokens, on that encoder's own grid

/** Feature maps of any grids and widths to `side` × `side` tokens `width` wide. */
function gatedPool(
  p: Params,
  maps: readonly FeatureMap[],
  { side, width }: { side: number; width: number },
): Tensor<'b q e', Float> {
  const pooled = maps.map((map, k) => {
    const regions = rearrange(map, 'b (qh rh) (qw rw) c -> b q=(qh qw) t=(rh rw) c', { qh: side, qw: side });
    return linear(p.at('encoder', k), reduce(regions, 'b q t c -> b q c', 'mean'), 'e', { size: width });
  });
  const tokens = stack(pooled, 'k'); // Tensor<'b q e k'>: hover over it
  const gate = softmax(einsum(tokens, p.get('gate', 'e', { e: width }), 'b q e k, e -> b q k'), 'k');
  const mixed = einsum(tokens, gate, 'b q e k, b q k -> b q e');
  return mixed.add(gelu(linear(p.at('out'), layerNorm(p.at('norm'), mixed), 'e', { size: width })));
}

export const params = randomParams(2);
export const graph = trace(params, (t) => {
  const coarse = t.input('coarse', 'b h w c', { b: 1, h: 4, w: 4, c: 24 });
  const fine = t.input('fine', 'b h w c', { b: 1, h: 16, w: 16, c: 12 });
  return { tokens: gatedPool(t.params, [coarse, fine], { side: 4, width: 16 }) };
});
export const inputs = {
  coarse: Float32Array.from({ length: 4 * 4 * 24 }, (_, i) => Math.sin(i)),
  fine: Float32Array.from({ length: 16 * 16 * 12 }, (_, i) => Math.cos(i / 3)),
};
const device = await openDevice();
const program = await load(graph, device, params);
export const outputs = await program.run(inputs);

const labels = program.plan.dispatches.map(({ label }) => `  ${label}`);
console.log(
  `two encoders, 4 × 4 and 16 × 16 tokens, to 16 tokens in ${labels.length} kernels on ${device.facts.name}:`,
);
console.log(labels.join('\n'));
for (const [name, { data }] of Object.entries(outputs))
  console.log(`${name}[0] = ${Array.from(data.slice(0, 6), (v) => Number(v).toFixed(4)).join(' ')} …`);
program.dispose();
device.close();
