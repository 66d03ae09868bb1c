// The small decoder of the comparisons: visual tokens and the eight questions of one picture in one sequence. Visual tokens see one another, a question sees them and itself.
import {
  attention,
  concat,
  gelu,
  layerNorm,
  linear,
  OpabiniaError,
  rearrange,
  repeat,
  slice,
  where,
  type Float,
  type Params,
  type Tensor,
  type Trace,
} from '../../../dsl/index.ts';
import type { Connect, InjectionState } from '../../../models/connectors/connector.ts';
import type { VisualTokens } from '../../../models/connectors/visual-tokens.ts';
import { answers } from '../scene/questions.ts';
import { plural } from '../../../dsl/text/plural.ts';

export interface DecoderSize {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Width inside the MLPs. */
  readonly hidden: number;
  /** Visual tokens that it takes at most. */
  readonly context: number;
}

type Hidden = Tensor<'b s e', Float>;

/** The embedded questions: a linear map of their rows, and an MLP. */
export function embedQuestions(
  p: Params,
  rows: Tensor<'b q v', Float>,
  { width, hidden }: DecoderSize,
): Tensor<'b q e', Float> {
  const sum = linear(p.at('slots'), rows, 'e', { size: width });
  const inner = gelu(linear(p.at('fc1'), sum, 'f', { size: hidden }));
  return sum.add(linear(p.at('fc2'), inner, 'e', { size: width }));
}

/**
 * Logits of the answers, `b q a`. Visual tokens may be undefined: the decoder is blind. Throws `OpabiniaError` for more tokens than its
 * context holds, and for connectors that act inside the language model in ways that it does not have.
 */
export function answerLogits(
  t: Trace,
  p: Params,
  visual: VisualTokens | undefined,
  questions: Tensor<'b q e', Float>,
  size: DecoderSize,
  connect?: Connect,
): Tensor<'b q a', Float> {
  const asked: Hidden = rearrange(questions, 'b q e -> b s=(q) e');
  const count = visual?.tokens.size('n') ?? 0;
  if (count > size.context)
    throw new OpabiniaError(
      `${connect?.name ?? 'the connector'} gives ${plural(count, 'token')}, and the decoder's context holds ${size.context}`,
      {
        op: 'shapes',
        advice: 'ask for fewer with --tokens, or take a larger preset',
      },
    );
  const seen = visual === undefined || count === 0 ? undefined : placed(p, visual);
  let hidden: Hidden = seen === undefined ? asked : concat([seen, asked], 's');
  const length = hidden.size('s');
  const at = t.iota('s', length);
  const key = t.iota('t', length);
  const mask = repeat(at, 's -> s t', { t: length }).eq(key).or(key.lt(count));
  const inside = injector(t, p, visual, hidden, questions, size, connect);
  hidden = inside(-1, hidden);
  for (let i = 0; i < size.layers; i++) hidden = inside(i, block(p.at('layers', i), hidden, mask, size));
  const last = layerNorm(p.at('norm'), slice(hidden, 's', { start: count }));
  return rearrange(linear(p.at('answers'), last, 'a', { size: answers.length }), 'b s a -> b q=(s) a');
}

/** Each token with a learned place: layouts are the connector's own. */
function placed(p: Params, { tokens }: VisualTokens): Hidden {
  const place = p.get('place_embed', 'n e', { n: tokens.size('n'), e: tokens.size('e') });
  return rearrange(tokens.add(place), 'b n e -> b s=(n) e');
}

function block(p: Params, x: Hidden, mask: Tensor<'s t', 'bool'>, { heads, hidden }: DecoderSize): Hidden {
  const width = x.size('e');
  const normed = layerNorm(p.at('norm1'), x);
  const all = linear(p.at('qkv'), normed, 'o', { size: 3 * width });
  const split = rearrange(all, 'b s (three h d) -> three b s h d', { three: 3, h: heads });
  const keys = (k: Tensor<'b s h d', Float>) => rearrange(k, 'b s h d -> b t=(s) h d');
  const read = attention(split.at('three', 0), keys(split.at('three', 1)), keys(split.at('three', 2)), {
    key: 't',
    along: 'd',
    mask,
  });
  const middle = x.add(linear(p.at('out'), rearrange(read, 'b s h d -> b s o=(h d)'), 'e', { size: width }));
  const inner = gelu(linear(p.at('fc1'), layerNorm(p.at('norm2'), middle), 'f', { size: hidden }));
  return middle.add(linear(p.at('fc2'), inner, 'e', { size: width }));
}

/** What the connector does after a layer. */
function injector(
  t: Trace,
  p: Params,
  visual: VisualTokens | undefined,
  first: Hidden,
  questions: Tensor<'b q e', Float>,
  { layers }: DecoderSize,
  connect: Connect | undefined,
): (layer: number, hidden: Hidden) => Hidden {
  const inject = connect?.inject;
  if (inject === undefined || visual === undefined) return (_, hidden) => hidden;
  const after = inject.after(layers);
  const [b, s] = [questions.size('b'), first.size('s')];
  const count = s - questions.size('q');
  const row = t.iota('s', s);
  const slots = repeat(where(row.lt(count), row, row.mul(0).sub(1)), 's -> b s', { b });
  return (layer, hidden) => {
    const index = after.indexOf(layer);
    if (index < 0) return hidden;
    const state: InjectionState = {
      hidden,
      carried: visual.carries ?? {},
      slots,
      pictures: () => repeat(row.mul(0).add(1), 's -> b s', { b }),
    };
    const made = inject.apply(p.at('inside'), state, { layer, index });
    if (made.kept !== undefined || made.seen !== undefined || made.hidden.size('s') !== s)
      throw new OpabiniaError(
        `${connect?.name ?? ''} drops tokens inside the language model, which the small decoder cannot follow`,
        {
          op: 'shapes',
          advice: 'compare it without --train',
        },
      );
    return made.hidden;
  };
}
