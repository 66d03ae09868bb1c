// What the compiler does with a pre-norm attention block: passes, cuts, kernels with their work, then the time each really takes.
import { explain } from '../compiler/explain.ts';
import {
  attention,
  layerNorm,
  linear,
  randomParams,
  rearrange,
  trace,
  type Float,
  type Params,
  type Tensor,
} from '../dsl/index.ts';
import { deviceProfile, openDevice } from '../runtime/device/dawn.ts';
import { profileTable } from '../runtime/device/kernel-times.ts';
import { load } from '../pipelines/run/load.ts';

/** x + W_o attention(W_q x̂, W_k x̂, W_v x̂), x̂ = LN(x) */
function block(p: Params, x: Tensor<'b n d', Float>, heads: number): Tensor<'b n d', Float> {
  const normed = layerNorm(p.at('layer_norm1'), x);
  const project = (name: string) => linear(p.at('self_attn', name), normed, 'd', { size: x.size('d') });
  const query = rearrange(project('q_proj'), 'b n (h e) -> b h n e', { h: heads });
  // Keys lie along an axis of their own: t, not n.
  const key = rearrange(project('k_proj'), 'b n (h e) -> b h t=(n) e', { h: heads });
  const value = rearrange(project('v_proj'), 'b n (h e) -> b h t=(n) e', { h: heads });
  const read = attention(query, key, value, { key: 't', along: 'e' });
  return x.add(
    linear(p.at('self_attn', 'out_proj'), rearrange(read, 'b h n e -> b n d=(h e)'), 'd', { size: x.size('d') }),
  );
}

export const params = randomParams(4);
export const graph = trace(params, (t) => ({
  y: block(t.params.at('layers', 0), t.input('x', 'b n d', { b: 1, n: 49, d: 64 }), 4),
}));
export const inputs = { x: Float32Array.from({ length: 49 * 64 }, (_, i) => Math.sin(i / 5)) };

const device = await openDevice();
const profile = deviceProfile(device);
console.log(explain(graph, profile));

const program = await load(graph, device, params);
export const outputs = await program.run(inputs);
console.log(`\nmeasured on ${device.facts.name}`);
console.log(profileTable(await program.profile(inputs)));
program.dispose();
device.close();
