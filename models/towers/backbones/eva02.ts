// EVA-02 (arXiv 2303.11331), of CLIP and of masked images, under timm's names: rotations by row and column scaled to the grid of
// pretraining, gated MLPs, norms inside of attention and MLP where the model has them.
import { constantLike, layerNorm, linear, rearrange, reduce, silu, slice, type Params } from '../../../dsl/index.ts';
import { encodeVit, normedBy, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, tableRows, without } from '../hub-layer.ts';
import { angleTables, gridAngles, gridPlaces, turnTokens, type GridAngles } from '../positions.ts';
import { gridOf, rootOf, type Grid } from '../tower.ts';
import { positionRows, positionsFor, type BlockParts, type Tokens, type VitConfig } from '../vit.ts';
import { timmBlock, timmSizes } from './timm-vit.ts';

interface Options extends VitConfig {
  readonly fused: boolean;
  readonly innerNorm: boolean;
  readonly mlpNorm: boolean;
}

/** W₂ norm(silu(gate x) · value x); gate and value apart, or rows of one matrix in turn. */
function gatedMlp(p: Params, x: Tokens, { hidden, fused, mlpNorm, eps, width }: Options): Tokens {
  const wide = (name: string, size: number): Tokens => linear(p.at(name), x, 'c', { size });
  const packed = fused && !mlpNorm ? wide('fc1', 2 * hidden) : undefined;
  const gate = packed === undefined ? wide('fc1_g', hidden) : slice(packed, 'c', { size: hidden });
  const value = packed === undefined ? wide('fc1_x', hidden) : slice(packed, 'c', { start: hidden, size: hidden });
  const inner = silu(gate).mul(value);
  return linear(p.at('fc2'), mlpNorm ? layerNorm(p.at('norm'), inner, { eps }) : inner, 'c', { size: width });
}

function block(p: Params, options: Options, angles: GridAngles): BlockParts {
  const { width: c, eps, fused, innerNorm } = options;
  const own = p.at('attn');
  const parts = {
    ...timmBlock(p),
    mlp: (x: Tokens) => gatedMlp(p.at('mlp'), x, options),
    turn: (x: Parameters<typeof turnTokens>[0]) => turnTokens(x, angles, 'interleaved', 1),
    inner: innerNorm ? normedBy(own.at('norm'), eps) : undefined,
  };
  if (!fused)
    return {
      ...parts,
      qkv: { query: own.at('q_proj'), key: own.at('k_proj'), value: own.at('v_proj') },
      qkvBias: { query: true, key: false, value: true },
    };
  return {
    ...parts,
    qkv: (x) => {
      const three = rearrange(linear(own.at('qkv'), x, 'o', { size: 3 * c, bias: false }), 'b n (s c) -> s b n c', {
        s: 3,
      });
      return [
        three.at('s', 0).add(own.get('q_bias', 'c', { c })),
        three.at('s', 1),
        three.at('s', 2).add(own.get('v_bias', 'c', { c })),
      ];
    },
  };
}

export const eva02: BackboneType = {
  kind: 'eva02-vit',
  types: [
    'eva02_tiny_patch14_224',
    'eva02_tiny_patch14_336',
    'eva02_small_patch14_224',
    'eva02_small_patch14_336',
    'eva02_base_patch14_224',
    'eva02_base_patch14_448',
    'eva02_large_patch14_224',
    'eva02_large_patch14_448',
    'eva02_base_patch16_clip_224',
    'eva02_large_patch14_clip_224',
    'eva02_large_patch14_clip_336',
  ],
  unread: [
    ...['head', 'fc_norm'].flatMap((name) => [name, `trunk.${name}`, `visual.trunk.${name}`]),
    'visual.head',
    'text',
    'logit_scale',
    'mask_token',
  ],
  read: (config) => {
    const args = config.inner('model_args') ?? config;
    const options: Options = {
      ...timmSizes(config),
      fused: args.flag('qkv_fused', true),
      innerNorm: args.flag('scale_attn_inner', false),
      mlpNorm: args.flag('scale_mlp', false),
    };
    const { width: c, heads, patch, eps } = options;
    const reference = args.has('ref_feat_shape') ? args.numbers('ref_feat_shape') : undefined;
    const temperature = config.number('rope_temperature', 10_000);
    const pooled = args.text('global_pool', 'avg') === 'avg';
    const count = c / heads / 4;
    const anglesOf = (grid: Grid): GridAngles =>
      gridAngles(
        gridPlaces(
          grid,
          (row) => (row / grid[0]) * (reference?.[0] ?? grid[0]),
          (column) => (column / grid[1]) * (reference?.[1] ?? grid[1]),
        ),
        Array.from({ length: count }, (_, k) => temperature ** (-k / count)),
      );
    return {
      width: c,
      encode: (p, pixels) => {
        const root = rootOf(p, ['visual.trunk', 'trunk', ''], 'pos_embed');
        const grid = gridOf(pixels, patch);
        const angles = anglesOf(grid);
        const positions = positionsFor(tableRows(root, 'pos_embed', { n: positionRows(options, 1), c }), {
          classTokens: 1,
          grid,
          picture: [pixels.size('h'), pixels.size('w')],
          by: 'antialias',
        });
        const first = tableRows(root, 'cls_token', { n: 1, c }).add(slice(positions, 'n', { size: 1 }));
        const patches = patchTokens(root.at('patch_embed', 'proj'), pixels, { patch, size: c });
        const encoded = encodeVit({
          grid,
          classTokens: 1,
          embeddings: behind([first], patches.add(slice(positions, 'n', { start: 1 }))),
          config: options,
          block: (i) => block(root.at('blocks', i), options, angles),
          norm: pooled ? undefined : normedBy(root.at('norm'), eps),
        });
        const features = without(encoded.last, 1);
        const table = (name: 'cos' | 'sin') =>
          constantLike(
            pixels,
            angleTables(angles, 'interleaved')[name],
            'n d',
            { n: angles.tokens, d: c / heads },
            'f32',
          );
        return {
          ...encoded,
          features,
          named: {
            pooler_output: () =>
              pooled
                ? layerNorm(root.at('fc_norm'), reduce(features, 'b n c -> b c', 'mean'), { eps })
                : encoded.last.at('n', 0),
            rope_cos: () => table('cos'),
            rope_sin: () => table('sin'),
          },
        };
      },
    };
  },
};
