// A connector of your own: every position of a grid pools its region of each encoder's map, then weighs the encoders against one another.
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
} from 'opabinia';
import type { Float, Params, Tensor } from 'opabinia';

/** One encoder's tokens, on that encoder's own grid. */
export type FeatureMap = Tensor<'b h w c', Float>;

/** Feature maps of any grids and widths to `side` × `side` tokens, `width` channels each. */
export function gatedPool(
  p: Params,
  maps: readonly FeatureMap[],
  { side, width }: { side: number; width: number },
): Tensor<'b q e', Float> {
  const pooled = maps.map((map, k) => {
    // Position (i, j) of the grid sees the patch of rows i·rh… and columns j·rw… of this map.
    const regions = rearrange(map, 'b (qh rh) (qw rw) c -> b q=(qh qw) t=(rh rw) c', { qh: side, qw: side });
    return linear(p.at('encoder', k), reduce(regions, 'b q t c -> b q c', 'mean'), 'e', { size: width });
  });
  const tokens = stack(pooled, 'k');
  const gate = softmax(einsum(tokens, p.get('gate', 'e', { e: width }), 'b q e k, e -> b q k'), 'k');
  const mixed = einsum(tokens, gate, 'b q e k, b q k -> b q e');
  return mixed.add(gelu(linear(p.at('out'), layerNorm(p.at('norm'), mixed), 'e', { size: width })));
}

/** Parameters from a seed, until there is a checkpoint. */
export const params = randomParams(1);

/** The connector over two encoders of 8 × 8 and 16 × 16 tokens. */
export const graph = trace(params, (t) => {
  const coarse = t.input('coarse', 'b h w c', { b: 1, h: 8, w: 8, c: 64 });
  const fine = t.input('fine', 'b h w c', { b: 1, h: 16, w: 16, c: 32 });
  return { tokens: gatedPool(t.params, [coarse, fine], { side: 4, width: 48 }) };
});

if (import.meta.main) {
  const device = await openDevice();
  const program = await load(graph, device, params);
  const { tokens } = await program.run({
    coarse: Float32Array.from({ length: 8 * 8 * 64 }, (_, i) => Math.sin(i)),
    fine: Float32Array.from({ length: 16 * 16 * 32 }, (_, i) => Math.cos(i / 3)),
  });
  console.log(`${device.facts.name}: ${program.plan.dispatches.length} kernels`);
  console.log(`tokens ${tokens?.axes.map(({ name, size }) => `${name}:${size}`).join(' ')}`, tokens?.data.slice(0, 4));
  program.dispose();
  device.close();
}
