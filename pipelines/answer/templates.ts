// A question in a template: the conversation templates written here, or the directory's own chat template.
import { OpabiniaError } from '../../dsl/index.ts';
import type { ConfigJson } from '../../models/configs/fields.ts';
import {
  conversationParts,
  joinChunks,
  joinerOf,
  promptChunks,
  type TemplateName,
  type Turn,
} from '../../models/sequence/conversation.ts';
import { chatParts, readChatTemplate, type ChatMessage } from '../../runtime/text/chat-template.ts';
import { readJsonFile, type ModelFiles } from '../../runtime/checkpoint/hub.ts';
import type { SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import type { PromptPart } from '../../runtime/text/tokenizer.ts';
import type { Question } from './family.ts';
import { plural } from '../../dsl/text/plural.ts';

/** The begin-of-text token of a config. */
export function beginToken(json: ConfigJson): number | undefined {
  const id = json['bos_token_id'];
  return typeof id === 'number' ? id : undefined;
}

function turnsOf({ text, images = [], history = [] }: Question): readonly Turn[] {
  const before = history.reduce((sum, turn) => sum + (turn.images ?? 0), 0);
  if (before > images.length)
    throw new OpabiniaError(`earlier turns show ${plural(before, 'image')}, and ${images.length} are given`, {
      op: 'prompt',
      advice: 'give the images of all turns, those of the first turn first',
    });
  return [...history, { role: 'user', text, images: images.length - before }];
}

/** Ids of a question in a template of models/conversation.ts. Throws `OpabiniaError`. */
export async function templateIds(
  template: TemplateName,
  tokenizer: SandboxTokenizer,
  begin: number | undefined,
  question: Question,
): Promise<readonly number[]> {
  const parts = conversationParts(template, turnsOf(question), { system: question.system });
  const joiner = joinerOf(template);
  const chunks = promptChunks(parts).map((chunk) => tokenizer.encode(chunk, { automatic: joiner === 'reference' }));
  return joinChunks(await Promise.all(chunks), joiner, begin);
}

// ---- the directory's own template --------------------------------------------------------------------------------------

/** Messages as a chat template takes them: images before the text of their turn. */
export function messagesOf(question: Question): readonly ChatMessage[] {
  const system: readonly ChatMessage[] =
    question.system === undefined ? [] : [{ role: 'system', content: [{ type: 'text', text: question.system }] }];
  return [
    ...system,
    ...turnsOf(question).map(({ role, text, images = 0 }): ChatMessage => ({
      role,
      content: [...Array.from({ length: images }, () => ({ type: 'image' as const })), { type: 'text' as const, text }],
    })),
  ];
}

/** A question in parts, by a template of the directory. Throws `OpabiniaError`, for instance where the template refuses a system message. */
export type ChatTemplate = (question: Question) => Promise<readonly PromptPart[]>;

/** Undefined where the directory has no chat template. `image`: how it spells a picture, `<image>` by default. Throws `OpabiniaError` for files that cannot be read. */
export function ownTemplate(files: ModelFiles, image?: string): ChatTemplate | undefined {
  const template = readChatTemplate(files);
  if (template === undefined) return undefined;
  const variables = specialTokens(files);
  // Those that know of images take a list of parts; all others take a message's content as one string.
  const strings = !/['"]image['"]/.test(template);
  const render = async (question: Question): Promise<readonly PromptPart[]> => {
    try {
      return await chatParts(template, messagesOf(question), { variables, strings, image });
    } catch (cause) {
      if (question.system === undefined || !(cause instanceof OpabiniaError)) throw cause;
      throw new OpabiniaError(`with a system message ${cause.what}`, {
        op: 'prompt',
        cause,
        advice: 'the template may have no place for one: leave out --system, or say it in the prompt',
      });
    }
  };
  // A question is laid out twice: to see whether it fits, and to be answered.
  const known = new WeakMap<Question, Promise<readonly PromptPart[]>>();
  return (question) => {
    const parts = known.get(question) ?? render(question);
    known.set(question, parts);
    return parts;
  };
}

/** `ownTemplate` of a model that has no form to fall back on. Throws `OpabiniaError` where there is none. */
export function neededTemplate(files: ModelFiles, image: string): ChatTemplate {
  const template = ownTemplate(files, image);
  if (template !== undefined) return template;
  throw new OpabiniaError(`${files.directory} has no chat template`, {
    op: 'openModel',
    advice: 'put its chat_template.jinja or chat_template.json there',
  });
}

/** Ids of a rendered template. One may write the begin-of-text token itself; transformers' processors then add none. */
export async function templatedIds(
  tokenizer: SandboxTokenizer,
  parts: Parameters<SandboxTokenizer['encode']>[0],
): Promise<readonly number[]> {
  const ids = await tokenizer.encode(parts, { automatic: false });
  const [begin] = tokenizer.automaticStart;
  return begin === undefined || ids[0] === begin ? ids : tokenizer.encode(parts);
}

const special = ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const;

type SpecialTokens = Readonly<Partial<Record<(typeof special)[number], string>>>;

/** What classes of transformers call them, where no file says it. */
const ofClasses: readonly (readonly [RegExp, SpecialTokens])[] = [
  [/^(?:Code)?LlamaTokenizer(?:Fast)?$/, { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' }],
  [/^GemmaTokenizer(?:Fast)?$/, { bos_token: '<bos>', eos_token: '<eos>', unk_token: '<unk>', pad_token: '<pad>' }],
  [/^Qwen2Tokenizer(?:Fast)?$/, { eos_token: '<|endoftext|>', pad_token: '<|endoftext|>' }],
];

/** The tokens that a template names as variables, as `tokenizer_config.json` spells them; what it leaves out, as older directories do in `special_tokens_map.json`. */
export function specialTokens(files: ModelFiles): SpecialTokens {
  const read = (path: string | undefined): unknown => (path === undefined ? undefined : readJsonFile(path));
  const fieldsOf = (json: unknown): ReadonlyMap<string, unknown> =>
    new Map<string, unknown>(typeof json === 'object' && json !== null ? Object.entries(json) : []);
  const stated = fieldsOf(files.stated?.tokens ?? read(files.tokenizerConfig));
  const kind = stated.get('tokenizer_class');
  const otherwise = ofClasses.find(([name]) => typeof kind === 'string' && name.test(kind))?.[1] ?? {};
  const fields = new Map([...Object.entries(otherwise), ...fieldsOf(read(files.specialTokens)), ...stated]);
  return Object.fromEntries(
    special.flatMap((name) => {
      const value = fields.get(name);
      // Older files write the token out with its properties.
      const spelling: unknown =
        typeof value === 'object' && value !== null && 'content' in value ? value.content : value;
      return typeof spelling === 'string' ? [[name, spelling] as const] : [];
    }),
  );
}
