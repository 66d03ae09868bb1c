// What usually goes wrong when parts are married that were made apart: told before anything is written.
import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { OpabiniaError } from '../../dsl/index.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';
import { templateFor } from '../../models/sequence/conversation.ts';
import { printBytes } from '../../runtime/device/memory-budget.ts';
import { readChatTemplate } from '../../runtime/text/chat-template.ts';
import type { Layout } from './layout.ts';
import type { LanguagePart, TowerPart } from './parts.ts';
import { plural } from '../../dsl/text/plural.ts';

/** Tokens of a short question and its template. */
const words = 64;

/** Notes for people. Throws `OpabiniaError` for what cannot work: a context that a picture alone fills. */
export function checkMarriage(language: LanguagePart, towers: readonly TowerPart[], layout: Layout): readonly string[] {
  const { opened } = language;
  const { config } = opened.language;
  const { tokenizer } = opened;
  const notes: string[] = [];
  if (layout.tokens + words > config.maxPositions)
    throw new OpabiniaError(
      `a picture has ${plural(layout.tokens, 'token')}, and the language model knows ${plural(config.maxPositions, 'position')}: there is no room for words`,
      { op: 'assemble', advice: 'ask for fewer with --tokens, or take a connector that pools' },
    );
  if (layout.tokens * 2 > config.maxPositions)
    notes.push(`a picture takes ${layout.tokens} of the ${plural(config.maxPositions, 'position')}`);
  if (tokenizer.size > config.vocabulary)
    notes.push(
      `${plural(tokenizer.size - config.vocabulary, 'token of the tokenizer has', 'tokens of the tokenizer have')} no embedding: texts that have one are refused`,
    );
  else if (tokenizer.size < config.vocabulary)
    notes.push(
      `the embedding has ${plural(config.vocabulary, 'row')}, ${config.vocabulary - tokenizer.size} of them for no token`,
    );
  if (tokenizer.idOf('<image>') !== undefined)
    notes.push(
      `the tokenizer has a token <image> (${String(tokenizer.idOf('<image>'))}); pictures take none: their tokens stand where the prompt has the picture`,
    );
  const template = templateFor((token) => tokenizer.idOf(token) !== undefined);
  const own = readChatTemplate(language.files) !== undefined;
  notes.push(
    `prompts are in the template ${template}${own ? "; the language model's own chat template is not used, so that it is asked as it is trained" : ''}`,
  );
  const dtypes = [language.weights.dtype, ...towers.map(({ weights }) => weights.dtype)];
  if (new Set(dtypes).size > 1)
    notes.push(
      `weights are stored as ${dtypes.join(', ')}: each is read as it is, and computed in the dtype of the run`,
    );
  if (dtypes.includes('BF16'))
    notes.push('some weights are BF16, whose range f16 does not have: run in f32 where f16 overflows');
  for (const { tower, side, files } of towers)
    if (tower.side !== undefined && tower.side !== side)
      notes.push(
        `${files.directory} was made for pictures of ${tower.side} × ${tower.side} and gets ${side} × ${side}: its positions are resampled`,
      );
  if (config.logitCap !== undefined)
    notes.push('the language model caps its logits, which `train` does not know: it answers, and refuses to learn');
  notes.push(
    `${countParameters(layout.fresh).toLocaleString('en')} parameters are new and know nothing: train them before asking`,
  );
  return notes;
}

/** Throws `OpabiniaError` where the disk has no room for all parts. */
export function checkRoom(out: string, language: LanguagePart, towers: readonly TowerPart[], layout: Layout): void {
  const needed = [language, ...towers].reduce(
    (sum, { weights }) => sum + weights.bytes,
    4 * countParameters(layout.fresh),
  );
  const { bavail, bsize } = statfsSync(dirname(out));
  if (needed <= bavail * bsize) return;
  throw new OpabiniaError(
    `the weights take ${printBytes(needed)}, and the disk has ${printBytes(bavail * bsize)} left`,
    {
      op: 'assemble',
      advice: 'write to another disk',
    },
  );
}
