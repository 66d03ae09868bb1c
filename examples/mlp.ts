// A two-layer MLP with a residual: from a TypeScript function to numbers, in two kernels.
import { gelu, linear, randomParams, trace, type Float, type Params, type Tensor, load, openDevice } from '../index.ts';

/** x + W₂ gelu(W₁ x). A module is a function; `p` is a place in the checkpoint. */
function mlp(p: Params, x: Tensor<'b n d', Float>): Tensor<'b n d', Float> {
  const hidden = gelu(linear(p.at('fc1'), x, 'f', { size: 4 * x.size('d') }));
  return x.add(linear(p.at('fc2'), hidden, 'd', { size: x.size('d') }));
}

export const params = randomParams(1);
export const graph = trace(params, (t) => ({
  y: mlp(t.params.at('layers', 0, 'mlp'), t.input('x', 'b n d', { b: 1, n: 6, d: 16 })),
}));
export const inputs = { x: Float32Array.from({ length: 6 * 16 }, (_, i) => Math.sin(i)) };

const device = await openDevice();
const program = await load(graph, device, params);
export const outputs = await program.run(inputs);

console.log(`on ${device.facts.name}, ${program.plan.dispatches.length} kernels:`);
for (const { label, path, flops } of program.plan.dispatches)
  console.log(`  ${label} in ${path}, ${flops} floating-point operations`);
for (const [name, { data, axes }] of Object.entries(outputs)) {
  console.log(
    `${name} [${axes.map((axis) => `${axis.name}:${axis.size}`).join(' ')}] = ${Array.from(data.slice(0, 5), (v) => Number(v).toFixed(4)).join(' ')} …`,
  );
}
program.dispose();
device.close();
