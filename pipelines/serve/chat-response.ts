// Answers in OpenAI's form: whole, and in chunks.
import type { RowAnswer } from '../answer/rows/asking.ts';
import type { TokenLogprob } from './token-logprobs.ts';

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** What is the same in all chunks of an answer. */
export interface AnswerHead {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
  readonly system_fingerprint: string;
}

export function usageOf({ promptTokens, tokens }: Pick<RowAnswer, 'promptTokens' | 'tokens'>): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: tokens.length,
    total_tokens: promptTokens + tokens.length,
  };
}

/** length: as many tokens as were allowed; stop: the model's own end, or a stop string. */
export function finishReason({ reason }: Pick<RowAnswer, 'reason'>): 'length' | 'stop' {
  return reason === 'length' ? 'length' : 'stop';
}

/** Null where they were not asked for. */
export type Logprobs = readonly TokenLogprob[] | null;

const logprobsOf = (content: Logprobs): object | null => (content === null ? null : { content, refusal: null });

export function completion(head: AnswerHead, answer: RowAnswer, logprobs: Logprobs): object {
  return {
    ...head,
    object: 'chat.completion',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: answer.text, refusal: null },
        logprobs: logprobsOf(logprobs),
        finish_reason: finishReason(answer),
      },
    ],
    usage: usageOf(answer),
  };
}

/** A chunk with what is new, and in the last one why the answer ends. `usage`: where it is asked for, null in all but one chunk of its own. */
export function chunk(
  head: AnswerHead,
  delta: { readonly role?: 'assistant'; readonly content?: string },
  {
    finish = null,
    logprobs = null,
    usage,
  }: {
    readonly finish?: 'length' | 'stop' | null;
    readonly logprobs?: Logprobs;
    readonly usage?: null | undefined;
  } = {},
): object {
  return {
    ...head,
    object: 'chat.completion.chunk',
    choices: [
      {
        index: 0,
        delta,
        logprobs: logprobs?.length === 0 ? null : logprobsOf(logprobs),
        finish_reason: finish,
      },
    ],
    ...(usage === undefined ? {} : { usage }),
  };
}

export function usageChunk(head: AnswerHead, answer: RowAnswer): object {
  return { ...head, object: 'chat.completion.chunk', choices: [], usage: usageOf(answer) };
}
