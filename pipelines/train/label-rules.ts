// Which tokens of a sample a model learns, within the length of its sequences: the one place that training and `opabinia data check` ask.
import { labelledBranches, type BranchedIds } from '../../models/sequence/branches.ts';
import { ignoredLabel, imagePlaceholder } from '../../models/sequence/collate.ts';
import type { TemplateName } from '../../models/sequence/conversation.ts';
import { labelledIds, type LabelledIds } from '../../models/sequence/labels.ts';
import type { SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import type { LlavaSample } from './data/llava-file.ts';

export interface LabelRules {
  readonly tokenizer: SandboxTokenizer;
  readonly template: TemplateName;
  /** Tokens of a sample, and those that stand for a picture. */
  readonly length: number;
  readonly pictureTokens: number;
  /** Whether each question is as if it were asked alone. */
  readonly independent: boolean;
}

/** Ids and labels of a sample, before the sequence is cut to its length. Throws `OpabiniaError` as `labelledIds`. */
export function sampleLabels(
  { turns }: LlavaSample,
  { tokenizer, template, independent }: LabelRules,
): Promise<LabelledIds & Partial<BranchedIds>> {
  const layOut: (...given: Parameters<typeof labelledIds>) => Promise<LabelledIds & Partial<BranchedIds>> = independent
    ? labelledBranches
    : labelledIds;
  return layOut(template, turns, (chunk, encode) => tokenizer.encode(chunk, encode), {
    begin: tokenizer.automaticStart[0],
  });
}

/**
 * Labels that count, those of them that the length leaves, and the length that would leave all: the block of a picture pushes what is behind it
 * out of the sequence.
 */
export function labelCounts(
  { ids, labels }: LabelledIds,
  { length, pictureTokens }: LabelRules,
): { readonly all: number; readonly left: number; readonly needed: number } {
  const block = ids.includes(imagePlaceholder) ? pictureTokens - 1 : 0;
  const learned = labels.flatMap((label, at) => (label === ignoredLabel ? [] : [at]));
  return {
    all: learned.length,
    left: learned.filter((at) => at + block < length).length,
    needed: (learned.at(-1) ?? -1) + block + 1,
  };
}
