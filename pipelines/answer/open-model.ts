// A model directory as it is on disk: configs, tokenizer, checkpoints of the language model and of its towers. Nothing is on the device yet.
import { requirePath } from '../../dsl/graph/required.ts';
import { examine } from './examine.ts';
import type { OpenedModel, OpenModelOptions } from './opened-model.ts';

export type { OpenedModel, OpenModelOptions } from './opened-model.ts';

/**
 * A released model, opened for answering. Throws `OpabiniaError` for whatever is missing, damaged, or does not fit together; nothing stays open then.
 * @example const session = await Session.open(await openModel('owner/name'), await openDevice())
 */
export async function openModel(model: string, options: OpenModelOptions = {}): Promise<OpenedModel> {
  requirePath('openModel', model, 'the model', "openModel('path/to/model')");
  const { opened } = await examine(model, options, async (step) => step());
  if (opened === undefined) throw new TypeError('what does not open throws');
  return opened;
}
