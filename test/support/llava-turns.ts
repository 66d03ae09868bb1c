// LLaVA's prompts as graphs over a cache that is driven from outside, step by step: another way to what a session answers.
import { trace, type Graph, type ParamSource, type Size, type Tensor, type Trace } from '../../dsl/index.ts';
import type { LlavaConfig } from '../../models/configs/llava.ts';
import {
  decoderLayers,
  embedTokens,
  finalNorm,
  greedyToken,
  lastStates,
  logitsOf,
  openCache,
  openTurn,
} from '../../models/decoders/decoder.ts';
import { isLegacyBuffer, type TurnSizes } from '../../models/decoders/turn-graph.ts';
import type { Hidden } from '../../models/multimodal/cambrian.ts';
import { embedPrompts, openTokens, type LlavaViews } from '../../models/multimodal/llava/llava-graphs.ts';
import {
  inBody,
  languageParams,
  llavaNames,
  projectorName,
  type LlavaNames,
} from '../../models/multimodal/llava/llava-names.ts';

/** What the language model's graphs leave to that of the pictures, and frequencies that older files store. */
function unreadByLanguage(source: ParamSource, names: LlavaNames, more: readonly string[] = []): readonly string[] {
  return [
    ...['vision_tower', projectorName, ...more].map((path) => inBody(names, path)),
    ...[...(source.names() ?? [])].filter(isLegacyBuffer),
  ];
}

export interface LlavaPrefillOptions extends TurnSizes, LlavaViews {
  /** Tokens of the longest prompt, image tokens included. */
  readonly promptLimit: number;
}

/**
 * The prompts: symbol `s`. Inputs `ids`, `slots` `b s` and `last` `b` (`layOutPrompts`), `cos`, `sin` (`turnTables`), with `padded`
 * `attend`. Outputs `logits`, `b s v` with s = 1, and `token`, the likeliest next one. Writes the cache from position 0.
 */
export function llavaPrefillGraph(source: ParamSource, config: LlavaConfig, options: LlavaPrefillOptions): Graph {
  const names = llavaNames(source);
  const b = options.batch;
  return trace(
    source,
    (t) => {
      const s = t.symbol('s', { upTo: options.promptLimit });
      const [ids, slots] = [t.input('ids', 'b s', { b, s }, 'i32'), t.input('slots', 'b s', { b, s }, 'i32')];
      const start = embedPrompts(t.params, names, config, openTokens(t, config, options, source.dtype), ids, slots);
      return nextTokens(t, source, names, config, options, {
        start,
        past: 0,
        length: s,
        last: t.input('last', 'b', { b }, 'i32'),
      });
    },
    { unread: unreadByLanguage(source, names) },
  );
}

/** One token behind `past` others (a symbol): inputs `ids`, `cos`, `sin`, with `padded` `attend`; outputs as of prefill. */
export function llavaDecodeGraph(source: ParamSource, config: LlavaConfig, options: TurnSizes): Graph {
  const names = llavaNames(source);
  return trace(
    source,
    (t) => {
      const past = t.symbol('past', { atLeast: 0, upTo: options.capacity - 1 });
      const start = embedTokens(
        languageParams(t.params, names),
        config.language.config,
        t.input('ids', 'b s', { b: options.batch, s: 1 }, 'i32'),
      );
      return nextTokens(t, source, names, config, options, { start, past, length: 1 });
    },
    { unread: unreadByLanguage(source, names, ['image_newline']) },
  );
}

interface Step {
  readonly start: Hidden;
  readonly past: Size;
  readonly length: Size;
  readonly last?: Tensor<'b', 'i32'>;
}

function nextTokens(
  t: Trace,
  source: ParamSource,
  names: LlavaNames,
  { language }: LlavaConfig,
  sizes: TurnSizes,
  step: Step,
): { readonly logits: Tensor; readonly token: Tensor } {
  const root = languageParams(t.params, names);
  const cache = openCache(t, language.config, {
    batch: sizes.batch,
    capacity: sizes.capacity,
    past: step.past,
    dtype: source.dtype,
  });
  const turn = openTurn(t, language.config, { batch: sizes.batch, length: step.length, cache, padded: sizes.padded });
  const decoder = decoderLayers(root.at('model'), language, turn);
  let hidden = step.start;
  for (let i = 0; i < decoder.layers; i++) hidden = decoder.layer(hidden, i);
  const logits = logitsOf(
    root,
    language.config,
    finalNorm(root, language.config, lastStates(hidden, step.length, step.last)),
  );
  return { logits, token: greedyToken(logits) };
}
