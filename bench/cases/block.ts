// Whole blocks of towers and of a language model.
import { rmsNorm, trace, type Graph } from '../../dsl/index.ts';
import { convNextBlock } from '../../models/towers/convnext-block.ts';
import { convNextXxl } from '../../models/towers/convnext.ts';
import { decoderLayers, openCache, openTurn, type LanguageModel } from '../../models/decoders/decoder.ts';
import { turnTables } from '../../models/decoders/turn-graph.ts';
import { phi3, phi3Configs } from '../../models/decoders/phi3.ts';
import { geluMlp, vitBlock } from '../../models/towers/vit.ts';
import { benchParams, uniform, type BenchCase, type Scale, type Work } from '../case.ts';

const source = benchParams();

function vit(scale: Scale): Work {
  const [n, c, heads, hidden] = scale === 'full' ? [577, 1024, 16, 4096] : [17, 32, 2, 64];
  const graph = trace(source, (t) => {
    const p = t.params.at('layers', 0);
    const attention = p.at('self_attn');
    return {
      y: vitBlock(
        {
          norm1: p.at('layer_norm1'),
          norm2: p.at('layer_norm2'),
          out: attention.at('out_proj'),
          qkv: { query: attention.at('q_proj'), key: attention.at('k_proj'), value: attention.at('v_proj') },
          mlp: (x) => geluMlp({ up: p.at('mlp', 'fc1'), down: p.at('mlp', 'fc2') }, x, hidden, 'exact'),
        },
        t.input('x', 'b n c', { b: 1, n, c }),
        { heads, eps: 1e-5 },
      ),
    };
  });
  return { graph, source, inputs: { x: uniform(n * c, 1, 1.7) } };
}

/** The first rows of the map depend on as many rows below them as half a filter has: a strip of the map judges. */
function convNext(scale: Scale): Work {
  const [side, c, rows] = scale === 'full' ? [32, 1536, 2] : [8, 16, 2];
  const graph = (h: number): Graph =>
    trace(source, (t) => ({
      y: convNextBlock(t.params.at('blocks', 0), t.input('x', 'b h w c', { b: 1, h, w: side, c }), convNextXxl),
    }));
  const x = uniform(side * side * c, 1, 1.7);
  const seen = rows + 3;
  return {
    graph: graph(side),
    source,
    inputs: { x },
    judged: { graph: graph(seen), inputs: { x: x.subarray(0, seen * side * c) }, within: { h: rows } },
  };
}

function phi3Layer(scale: Scale): LanguageModel {
  const sizes =
    scale === 'full' ? {} : { hidden_size: 32, intermediate_size: 64, num_attention_heads: 2, num_key_value_heads: 2 };
  return phi3({ ...phi3Configs['Phi-3-mini-4k-instruct'], ...sizes });
}

/** One layer with its cache, then a norm, as the next layer would begin. */
function layerGraph(model: LanguageModel, length: number, past: number, capacity: number): Graph {
  return trace(source, (t) => {
    const { config } = model;
    const cache = openCache(t, config, { batch: 1, capacity, past, dtype: 'f32' });
    const turn = openTurn(t, config, { batch: 1, length, cache });
    const out = decoderLayers(t.params, model, turn).layer(
      t.input('x', 'b s e', { b: 1, s: length, e: config.hidden }),
      0,
    );
    return { y: rmsNorm(t.params.at('norm'), out, { eps: config.eps }) };
  });
}

function layerInputs({ config }: LanguageModel, x: Float32Array, length: number, past: number): Work['inputs'] {
  const positions = Array.from({ length }, (_, i) => past + i);
  return { x: x.subarray(0, length * config.hidden), ...turnTables(config, positions, past + length) };
}

/** What the first tokens of a prompt become does not depend on later ones, so they judge. */
function prefill(scale: Scale): Work {
  const [length, capacity, first] = scale === 'full' ? [640, 1024, 24] : [12, 32, 4];
  const model = phi3Layer(scale);
  const x = uniform(length * model.config.hidden, 1, 1.7);
  return {
    graph: layerGraph(model, length, 0, capacity),
    source,
    inputs: layerInputs(model, x, length, 0),
    judged: { graph: layerGraph(model, first, 0, capacity), inputs: layerInputs(model, x, first, 0) },
  };
}

/** The cache holds zeros: its bytes are read like any others. */
function decode(scale: Scale): Work {
  const [past, capacity] = scale === 'full' ? [640, 1024] : [12, 32];
  const model = phi3Layer(scale);
  return {
    graph: layerGraph(model, 1, past, capacity),
    source,
    inputs: layerInputs(model, uniform(model.config.hidden, 1, 1.7), 1, past),
  };
}

export const blockCases: readonly BenchCase[] = [
  {
    name: 'vit-l-block',
    about: 'one block of a ViT-L: 577 tokens, width 1024, 16 heads, MLP 4096, exact GELU',
    build: vit,
  },
  { name: 'convnext-block', about: 'one block of ConvNeXt-XXL, stage 3, on a map 32 × 32 × 1536', build: convNext },
  {
    name: 'decoder-prefill-640',
    about: 'one layer of Phi-3-mini (Cambrian-3B), prompt of 640 tokens, f32',
    build: prefill,
  },
  { name: 'decoder-decode', about: 'one layer of Phi-3-mini (Cambrian-3B), one token behind 640, f32', build: decode },
];
