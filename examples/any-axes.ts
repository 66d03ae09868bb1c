// Modules over any axes: the type says «whatever axes come in, with the last one replaced», and no cast is needed.
import {
  gelu,
  layerNorm,
  linear,
  load,
  openDevice,
  randomParams,
  trace,
  type Float,
  type Params,
  type SetLast,
  type Tensor,
} from '../index.ts';

interface Widths {
  readonly hidden: number;
  readonly size: number;
}

/** The last axis of x, whatever it is called, becomes the axis `out`; all others stay. */
function project<S extends string, const O extends string>(
  p: Params,
  x: Tensor<S, Float>,
  out: O,
  size: number,
): Tensor<SetLast<S, O>, Float> {
  return linear(p, x, out, { size });
}

/** The same with a hidden layer. The result is left to TypeScript, which follows the axes through both layers. */
function mlp<S extends string, const O extends string>(
  p: Params,
  x: Tensor<S, Float>,
  out: O,
  { hidden, size }: Widths,
) {
  return project(p.at('fc2'), gelu(project(p.at('fc1'), layerNorm(p.at('norm'), x), 'hidden', hidden)), out, size);
}

export const params = randomParams(3);
export const graph = trace(params, (t) => {
  const image = t.input('image', 'b h w c', { b: 1, h: 3, w: 3, c: 8 });
  const text = t.input('text', 'b n d', { b: 1, n: 5, d: 12 });
  // Hover over the two: the axes are known, and a wrong name is an error of types.
  const fromImage: Tensor<'b h w e', Float> = mlp(t.params.at('image'), image, 'e', { hidden: 32, size: 16 });
  const fromText: Tensor<'b n e', Float> = mlp(t.params.at('text'), text, 'e', { hidden: 32, size: 16 });
  return { image: fromImage, text: fromText };
});
export const inputs = {
  image: Float32Array.from({ length: 3 * 3 * 8 }, (_, i) => Math.sin(i)),
  text: Float32Array.from({ length: 5 * 12 }, (_, i) => Math.cos(i)),
};

const device = await openDevice();
const program = await load(graph, device, params);
export const outputs = await program.run(inputs);

for (const [name, { data, axes }] of Object.entries(outputs)) {
  const shape = axes.map((axis) => `${axis.name}:${axis.size}`).join(' ');
  console.log(`${name} [${shape}] = ${Array.from(data.slice(0, 5), (v) => Number(v).toFixed(4)).join(' ')} …`);
}
program.dispose();
device.close();
