// CogVLM: in every layer of the language model visual tokens have their own projections and their own MLP; attention is over all.
import { attention, linear, rearrange, rmsNorm, slice, type Params } from '../../../dsl/index.ts';
import { routed, routesOf, type Routes, type Stream } from '../../parts/routing.ts';
import { asRow, tokensOf } from '../../parts/attention.ts';
import { gatedMlp } from '../../parts/mlp.ts';
import { carried } from '../../parts/slots.ts';
import { rotate, type Angles } from '../../decoders/rope.ts';
import { connector, requiredState } from '../connector.ts';
import { cogvlmGlu, type CogVlmConfig } from '../pointwise/cogvlm-glu.ts';

export interface ExpertLayer {
  readonly heads: number;
  readonly intermediate: number;
  /** Of the norms of the layers. */
  readonly layerEps: number;
}

const names = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' } as const;

export const cogvlmExpert = connector<CogVlmConfig & ExpertLayer>({
  name: 'cogvlm-expert',
  title: 'CogVLM visual expert',
  paper: 'arXiv 2311.03079',
  year: 2023,
  source: 'THUDM/CogVLM utils/models/mixin.py LlamaVisionExpertFCMixin, LlamaVisionExpertAttnMixin',
  mathematics: [
    'tokens: boi, GLU(x)…, eoi',
    'in every layer: q, k, v and W_o of visual tokens by weights of their own; causal attention over all',
    'h ← h + SwiGLU_visual(RMS h) or SwiGLU_text(RMS h)',
  ],
  towers: 'one',
  presets: {
    'cogvlm-17b': {
      config: { hidden: 11008, eps: 1e-5, marks: true, heads: 32, intermediate: 11008, layerEps: 1e-5 },
      maps: [[35, 35, 1792]],
      width: 4096,
      layers: 32,
    },
  },
  build: (p, maps, config, context) => {
    const made = cogvlmGlu.build(p, maps, config, context);
    return { ...made, carries: { visual: made.tokens } };
  },
  inject: {
    after: (_, layers) => Array.from({ length: layers }, (_layer, i) => i - 1),
    replaces: true,
    reads: 'hidden states of all tokens',
    writes: 'what the next layer would give',
    apply: (p, state, config, { layer }) => {
      const visual = carried(state, 'visual', 'b n e').size('n');
      const routes = routesOf(state.slots.ge(0), visual);
      const angles = requiredState(state, 'angles', 'cogvlm-expert')();
      return { hidden: expertLayer(p.at('layers', layer + 1), state.hidden, routes, angles, config) };
    },
  },
});

/** A decoder layer in which the tokens of the first kind have weights of their own. */
export function expertLayer(
  p: Params,
  hidden: Stream,
  routes: Routes,
  angles: Angles,
  { heads, intermediate, layerEps: eps }: ExpertLayer,
): Stream {
  const width = hidden.size('e');
  const own = p.at('self_attn');
  const by = (name: string, size: number) => (kind: 'vision' | 'language') => (x: Stream) =>
    linear(own.at(`${kind}_expert_${name}`), x, 'e', { size, bias: false });
  const each = (x: Stream, f: (kind: 'vision' | 'language') => (x: Stream) => Stream) =>
    routed(x, routes, f('vision'), f('language'));
  const qkv = each(rmsNorm(p.at('input_layernorm'), hidden, { eps }), by('query_key_value', 3 * width));
  const [q, k, v] = [0, 1, 2].map((i) =>
    rearrange(slice(qkv, 'e', { start: i * width, size: width }), 'b s (h d) -> b s h d', { h: heads }),
  );
  if (q === undefined || k === undefined || v === undefined) throw new TypeError('three thirds were made');
  const key = rearrange(rotate(k, angles), 'b s h d -> b h t=(s) d');
  const value = rearrange(v, 'b s h d -> b h t=(s) d');
  const query = rearrange(rotate(q, angles), 'b s h d -> b h s d');
  const read = attention(query, key, value, { key: 't', along: 'd', causal: 's' });
  const after = hidden.add(each(rearrange(read, 'b h s d -> b s e=(h d)'), by('dense', width)));
  const fed = each(rmsNorm(p.at('post_attention_layernorm'), after, { eps }), (kind) => (x) => {
    const map = asRow(rearrange(x, 'b s e -> b n=(s) c=(e)'));
    const out = gatedMlp(p.at('mlp', `${kind}_mlp`), map, { ...names, hidden: intermediate, width });
    return rearrange(tokensOf(out), 'b n c -> b s=(n) e=(c)');
  });
  return after.add(fed);
}
