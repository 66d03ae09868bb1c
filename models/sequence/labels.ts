// Which tokens of a conversation are learned: the answers and what ends them, as Cambrian's training code masks the rest.
import { ignoredLabel, imagePlaceholder } from './collate.ts';
import {
  conversationParts,
  joinChunks,
  joinerOf,
  promptChunks,
  type ConversationOptions,
  type EncodeChunk,
  type PromptOptions,
  type TemplateName,
  type Turn,
} from './conversation.ts';

export interface LabelledIds {
  readonly ids: readonly number[];
  /** The token itself where it is learned, `ignoredLabel` elsewhere. */
  readonly labels: readonly number[];
}

/**
 * Ids and labels of a conversation that ends with an answer. Everything up to the words that ask for an answer is ignored, the answer and
 * the template's end token are learned. Where tokens run over such a border, or where the reference would have counted otherwise, the
 * whole sample is ignored, as there. Throws `OpabiniaError` like `conversationParts`.
 */
export async function labelledIds(
  name: TemplateName,
  turns: readonly Turn[],
  encode: (...chunk: Parameters<EncodeChunk>) => Promise<readonly number[]> | readonly number[],
  options: PromptOptions & Pick<ConversationOptions, 'system'> = {},
): Promise<LabelledIds> {
  const joiner = options.joiner ?? joinerOf(name);
  const idsOf = async (count: number, ask: boolean): Promise<readonly number[]> => {
    const parts = conversationParts(name, turns.slice(0, count), { system: options.system, ask });
    const chunks = promptChunks(parts).map(async (chunk) => encode(chunk, { automatic: joiner === 'reference' }));
    return joinChunks(await Promise.all(chunks), joiner, options.begin);
  };
  const ids = await idsOf(turns.length, false);
  const labels = ids.map(() => ignoredLabel);
  if (!isCounted(name, turns)) return { ids, labels };
  for (const [i, turn] of turns.entries()) {
    if (turn.role !== 'assistant') continue;
    const [asked, answered] = [await idsOf(i, true), await idsOf(i + 1, false)];
    if (!startsWith(ids, asked) || !startsWith(ids, answered)) return { ids, labels: ids.map(() => ignoredLabel) };
    for (let at = asked.length; at < answered.length; at++) {
      const id = ids[at] ?? ignoredLabel;
      labels[at] = id === imagePlaceholder ? ignoredLabel : id;
    }
  }
  return { ids, labels };
}

/** For llama_3 the reference looks for an image in the first turn alone; one that stands later makes its count wrong. */
function isCounted(name: TemplateName, turns: readonly Turn[]): boolean {
  return name !== 'llama_3' || turns.every((turn, i) => i === 0 || (turn.images ?? 0) === 0);
}

function startsWith(ids: readonly number[], prefix: readonly number[]): boolean {
  return prefix.length <= ids.length && prefix.every((id, i) => ids[i] === id);
}
