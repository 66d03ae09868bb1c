// Files of a model directory that are not read, each with the reason.
import { readdirSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { weightNames, type ModelFiles } from '../../runtime/checkpoint/hub.ts';

/** Something that is there and is left alone. */
export interface Unread {
  readonly name: string;
  readonly why: string;
}

const reasons: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/\.py$/, 'code of a model is never run'],
  [/^vocab\.json$|^(?:merges|vocab)\.txt$/, 'the tokenizer file has all of it'],
  [/\.(?:gguf|h5|msgpack|onnx|ot|tflite)$/, 'weights of another format'],
  [/\.(?:md|txt|png|jpe?g|gif|pdf)$|^(?:LICENSE|NOTICE|USE_POLICY)/i, 'for people'],
  [/^\./, 'hidden'],
];

/** `read`: paths that are; `own`: names that this family leaves alone. */
export function unreadFiles(
  files: ModelFiles,
  read: ReadonlySet<string>,
  own: Readonly<Record<string, string>> = {},
): readonly Unread[] {
  const { directory } = files;
  const beside = (name: string): string | undefined => {
    const chosen = files.weights === undefined ? undefined : basename(files.weights);
    if (weightNames.includes(name) || /\.(?:safetensors|bin|pt|pth)(?:\.index\.json)?$/.test(name))
      return chosen === undefined ? 'not a name that weights have' : `the weights are those of ${chosen}`;
    if (/^tokenizer\.(?:json|model)$/.test(name) && files.tokenizer !== undefined)
      return `${basename(files.tokenizer)} is read`;
    if (/^chat_template\./.test(name) && files.chatTemplate !== undefined)
      return `${basename(files.chatTemplate)} is read`;
    if (/^pre?processor_config\.json$|^processor_config\.json$/.test(name) && files.preprocessorConfig !== undefined)
      return `${basename(files.preprocessorConfig)} says how pictures are made`;
    return undefined;
  };
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
    .flatMap((name): readonly Unread[] => {
      if (Object.hasOwn(own, name)) return [{ name, why: own[name] ?? '' }];
      if (read.has(resolve(directory, name))) return [];
      const why = beside(name) ?? reasons.find(([pattern]) => pattern.test(name))?.[1] ?? 'not a file that is known';
      return [{ name, why }];
    });
}
