// Cambrian-1's Spatial Vision Aggregator on two encoders of different grids, with padding masks and weights from a seed.
import { randomParams, trace, type ParamSource, load, openDevice } from '../index.ts';
import { regionMask } from '../models/sequence/masks.ts';
import { spatialVisionAggregator } from '../models/parts/sva/aggregator.ts';
import { svaShapes, type SvaShape } from '../models/parts/sva/shapes.ts';

// One query group on the final 6 × 6 grid, one on 3 × 3; encoder 1 has 4 and 16 tokens in each of their regions.
const sva = { channels: [24, 40], sides: [6, 12], groups: [6, 3], depth: 2, width: 32, out: 48 } satisfies SvaShape;
const picture = { width: 640, height: 427 };

// Sizes that a checkpoint's header would give come from a table here; the values from a seed.
const shapes = svaShapes(sva);
export const params: ParamSource = {
  ...randomParams(3),
  shape: (path) => shapes.get(path),
  names: () => shapes.keys(),
};

export const graph = trace(params, (t) => {
  const maps = sva.sides.map((side, k) =>
    t.input(`map_${k}`, 'b h w c', { b: 1, h: side, w: side, c: sva.channels[k] ?? 0 }),
  );
  const masks = (queries: number) =>
    sva.sides.map((side) => {
      const { attend, tokens } = regionMask(picture, side, queries);
      return t.constant(attend, 'b q t', { b: 1, q: queries ** 2, t: tokens }, 'bool');
    });
  return { tokens: spatialVisionAggregator(t.params, maps, { ...sva, side: 6, heads: 4, masks }).tokens };
});
export const inputs = Object.fromEntries(
  sva.sides.map((side, k) => [
    `map_${k}`,
    Float32Array.from({ length: side ** 2 * (sva.channels[k] ?? 0) }, (_, i) => Math.sin(i * (k + 1))),
  ]),
);

const device = await openDevice();
const program = await load(graph, device, params);
export const outputs = await program.run(inputs);

const { parameters, activations } = program.plan.memory;
console.log(
  `${shapes.size} parameters (${parameters} bytes), ${program.plan.load.length} kernels once at load, ${program.plan.dispatches.length} in a run, ${activations} bytes of activations`,
);
for (const [name, { data, axes }] of Object.entries(outputs)) {
  console.log(
    `${name} [${axes.map((axis) => `${axis.name}:${axis.size}`).join(' ')}] = ${Array.from(data.slice(0, 5), (v) => Number(v).toFixed(4)).join(' ')} …`,
  );
}
program.dispose();
device.close();
