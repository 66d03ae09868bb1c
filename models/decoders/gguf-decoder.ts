// A language model whose settings came from a GGUF file.
import { readConfig } from '../configs/read.ts';
import type { LanguageModel } from './decoder.ts';
import { OpabiniaError } from '../../dsl/index.ts';

/**
 * The model of a config made from a GGUF file; with `wholeNorms`, norms scale by their weight itself, whatever the family does. Throws
 * `OpabiniaError` for fields that are out of their range.
 */
export function ggufDecoder(
  { config, wholeNorms }: { readonly config: Readonly<Record<string, unknown>>; readonly wholeNorms: boolean },
  where: string,
): LanguageModel {
  const read = readConfig(config, where);
  if (read.kind !== 'language')
    throw new OpabiniaError(`${where} does not describe a language model`, { op: 'gguf', advice: 'check the file' });
  return wholeNorms ? wholeNormed(read.language) : read.language;
}

/** The same model, whose norms scale by their weight itself. */
export function wholeNormed(language: LanguageModel): LanguageModel {
  return { ...language, config: { ...language.config, unitOffset: false } };
}
