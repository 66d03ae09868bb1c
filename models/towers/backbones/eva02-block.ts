// A block of EVA-02 (arXiv 2303.11331) and what timm's constructor says of it.
import { layerNorm, linear, rearrange, silu, slice, type Params } from '../../../dsl/index.ts';
import type { ConfigReader } from '../../configs/config-reader.ts';
import { normedBy } from '../backbone.ts';
import { gridAngles, gridPlaces, turnTokens, type GridAngles } from '../positions.ts';
import type { Grid } from '../tower.ts';
import type { BlockParts, Tokens } from '../vit.ts';
import { timmBlock, timmSizes, type TimmSizes } from './timm-vit.ts';

export interface Eva02Options extends TimmSizes {
  readonly fused: boolean;
  /** Gate and value of the MLP as rows of one matrix. */
  readonly packed: boolean;
  readonly scaled: boolean;
  readonly innerNorm: boolean;
  readonly mlpNorm: boolean;
  /** Whether queries and keys turn by these angles, which are there in any case. */
  readonly turns: boolean;
  readonly anglesOf: (grid: Grid) => GridAngles;
}

/** What timm's class can build otherwise: other models of the EVA family, and other rotations. */
const unknown = {
  swiglu_mlp: true,
  attn_type: 'eva',
  use_post_norm: false,
  use_pre_transformer_norm: false,
  use_abs_pos_emb: true,
  num_reg_tokens: 0,
  rope_type: 'cat',
  rope_grid_indexing: 'ij',
  rope_rotate_half: false,
};

/** Fields of timm's constructor. Throws `OpabiniaError` for what this code cannot build. */
export function eva02Options(config: ConfigReader): Eva02Options {
  const args = config.inner('model_args') ?? config;
  args.fixed(unknown);
  const sizes = timmSizes(config, 'avg', {});
  const [mlpNorm, align] = [args.flag('scale_mlp', false), args.number('swiglu_align_to', 0)];
  return {
    ...sizes,
    normed: args.flag(
      'use_post_transformer_norm',
      !args.flag('use_fc_norm', args.text('global_pool', 'avg') === 'avg'),
    ),
    hidden: align > 0 ? Math.ceil(sizes.hidden / align) * align : sizes.hidden,
    fused: args.flag('qkv_fused', true),
    packed: !mlpNorm && align === 0,
    scaled: args.has('init_values'),
    innerNorm: args.flag('scale_attn_inner', false),
    mlpNorm,
    turns: args.flag('use_rot_pos_emb', args === config),
    anglesOf: rotations(config, args, sizes.width / sizes.heads),
  };
}

/** Places on the reference grid, where the config has one, turned by rows and columns. */
function rotations(config: ConfigReader, args: ConfigReader, head: number): (grid: Grid) => GridAngles {
  const reference = args.has('ref_feat_shape') ? args.sides('ref_feat_shape') : undefined;
  const temperature = args.number('rope_temperature', config.number('rope_temperature', 10_000));
  const offset = args.number('rope_grid_offset', 0);
  const count = head / 4;
  const frequencies = Array.from({ length: count }, (_, k) => temperature ** (-k / count));
  return (grid) => {
    const on = (axis: 0 | 1) => (place: number) => ((place + offset) / grid[axis]) * (reference ?? grid)[axis];
    return gridAngles(gridPlaces(grid, on(0), on(1)), frequencies);
  };
}

/** W₂ norm(silu(gate x) · value x); gate and value apart, or rows of one matrix in turn. */
function gatedMlp(p: Params, x: Tokens, { hidden, packed: joint, mlpNorm, eps, width }: Eva02Options): Tokens {
  const wide = (name: string, size: number): Tokens => linear(p.at(name), x, 'c', { size });
  const packed = joint ? wide('fc1', 2 * hidden) : undefined;
  const gate = packed === undefined ? wide('fc1_g', hidden) : slice(packed, 'c', { size: hidden });
  const value = packed === undefined ? wide('fc1_x', hidden) : slice(packed, 'c', { start: hidden, size: hidden });
  const inner = silu(gate).mul(value);
  return linear(p.at('fc2'), mlpNorm ? layerNorm(p.at('norm'), inner, { eps }) : inner, 'c', { size: width });
}

/** Where a block keeps its parts. */
export function eva02Block(p: Params, options: Eva02Options, angles: GridAngles): BlockParts {
  const { width: c, eps, fused, innerNorm, qkvBias: bias } = options;
  const own = p.at('attn');
  const parts = {
    ...timmBlock(p),
    mlp: (x: Tokens) => gatedMlp(p.at('mlp'), x, options),
    turn: (x: Parameters<typeof turnTokens>[0]) => (options.turns ? turnTokens(x, angles, 'interleaved', 1) : x),
    scales: options.scaled ? ([p.get('gamma_1', 'c', { c }), p.get('gamma_2', 'c', { c })] as const) : undefined,
    inner: innerNorm ? normedBy(own.at('norm'), eps) : undefined,
  };
  if (!fused)
    return {
      ...parts,
      qkv: { query: own.at('q_proj'), key: own.at('k_proj'), value: own.at('v_proj') },
      qkvBias: { query: bias, key: false, value: bias },
    };
  return {
    ...parts,
    qkv: (x) => {
      const three = rearrange(linear(own.at('qkv'), x, 'o', { size: 3 * c, bias: false }), 'b n (s c) -> s b n c', {
        s: 3,
      });
      const [query, key, value] = [three.at('s', 0), three.at('s', 1), three.at('s', 2)];
      return bias
        ? [query.add(own.get('q_bias', 'c', { c })), key, value.add(own.get('v_bias', 'c', { c }))]
        : [query, key, value];
    },
  };
}
