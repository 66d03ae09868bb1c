// Chat templates (Jinja) of Hugging Face, in a process of their own with limits; users' words go in as marks and come out as parts.
import { randomBytes } from 'node:crypto';
import { OpabiniaError } from '../../dsl/error.ts';
import { readJsonFile, readTextFile, type ModelFiles } from '../checkpoint/hub.ts';
import { sandbox as shared, type Sandbox } from '../sandbox/sandbox.ts';
import { trimmed } from '../sandbox/python-strip.ts';
import type { PromptPart } from './tokenizer.ts';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: readonly ({ readonly type: 'text'; readonly text: string } | { readonly type: 'image' })[];
}

export interface TemplateLimits {
  /** Milliseconds, from when the process is ready. */
  readonly time: number;
  /** Characters of the template and of what it gives. */
  readonly template: number;
  readonly output: number;
}

export const templateLimits: TemplateLimits = { time: 1_000, template: 256 * 1024, output: 4 * 2 ** 20 };

/**
 * What a template makes of its context. Throws `OpabiniaError` for a template that fails, that takes longer than its limit or more memory
 * than the sandbox has, and for one, or a result, that is too large.
 */
export async function renderTemplate(
  template: string,
  context: Readonly<Record<string, unknown>>,
  limits: TemplateLimits = templateLimits,
  sandbox: Sandbox = shared,
): Promise<string> {
  const who = 'the chat template';
  const op = 'chatTemplate';
  const advice =
    'the template is in chat_template.jinja or tokenizer_config.json of the model; get it again, or mend it';
  if (template.length > limits.template)
    throw new OpabiniaError(`${who} has ${template.length} characters; at most ${limits.template} are accepted`, {
      op,
      advice,
    });
  return sandbox.ask<'render'>(
    { kind: 'render', template, context, limit: limits.output },
    { time: limits.time, who, op, advice },
  );
}

/** The default template of a model, from its own file or from `tokenizer_config.json`; undefined when it has none. Throws `OpabiniaError`. */
export function readChatTemplate(files: ModelFiles): string | undefined {
  if (files.stated !== undefined) return files.stated.chatTemplate;
  if (files.chatTemplate?.endsWith('.jinja') === true) return readTextFile(files.chatTemplate, templateLimits.template);
  const path = files.chatTemplate ?? files.tokenizerConfig;
  const json = path === undefined ? undefined : readJsonFile(path);
  const stated: unknown =
    typeof json === 'object' && json !== null && 'chat_template' in json ? json.chat_template : undefined;
  if (typeof stated === 'string') return stated;
  // Older files hold a list of named templates.
  const named = Array.isArray(stated)
    ? (stated as readonly unknown[]).filter(
        (entry): entry is { name: string; template: string } =>
          typeof entry === 'object' &&
          entry !== null &&
          'name' in entry &&
          'template' in entry &&
          typeof entry.template === 'string',
      )
    : [];
  return (named.find((entry) => entry.name === 'default') ?? named[0])?.template;
}

export interface ChatOptions {
  /** Ask for an answer at the end; by default yes. */
  readonly answer?: boolean | undefined;
  /** Variables such as `bos_token` and `eos_token`. */
  readonly variables?: Readonly<Record<string, string>> | undefined;
  /** How templates of this model spell an image. */
  readonly image?: string | undefined;
  /** Templates of language models take a message's content as one string. */
  readonly strings?: boolean | undefined;
  readonly limits?: TemplateLimits | undefined;
}

/**
 * A conversation through a template, as parts. Every text of the messages is put in as a mark that cannot be guessed, so what comes
 * out between the marks is the template's own; images are those the template spells for a message's image parts. Throws
 * `OpabiniaError`, also when an image or a user's message got lost in the template.
 */
export async function chatParts(
  template: string,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): Promise<readonly PromptPart[]> {
  const { image = '<image>' } = options;
  const marks = new Marks(messages);
  // Templates of models that think leave out of earlier answers what was thought, by its tags.
  const thinks = template.includes(thoughtEnd);
  const content = (message: ChatMessage): unknown => {
    const put = (text: string): string =>
      thinks && message.role === 'assistant' ? marks.putThought(text) : marks.put(text);
    if (options.strings !== true)
      return message.content.map((part) => (part.type === 'image' ? part : { type: 'text', text: put(part.text) }));
    return message.content.map((part) => (part.type === 'image' ? `${image}\n` : put(part.text))).join('');
  };
  const text = await renderTemplate(
    template,
    {
      // As transformers gives them: templates ask whether they are none, which what is undefined is not.
      tools: null,
      documents: null,
      ...options.variables,
      messages: messages.map((message) => ({ role: message.role, content: content(message) })),
      add_generation_prompt: options.answer ?? true,
    },
    options.limits,
  );
  const parts = marks
    .split(text)
    .flatMap((part): readonly PromptPart[] => (part.kind === 'user' ? [part] : splitImages(part.text, image)));
  const [wanted, found] = [
    messages.flatMap((message) => message.content).filter((part) => part.type === 'image').length,
    parts.filter((part) => part.kind === 'image').length,
  ];
  if (wanted !== found)
    throw new OpabiniaError(`the messages hold ${wanted} images, and the chat template spells ${found}`, {
      op: 'chatTemplate',
      advice: `the template must write ${image} for each image part`,
    });
  return parts;
}

function splitImages(text: string, image: string): readonly PromptPart[] {
  return text
    .split(image)
    .flatMap((piece, i): readonly PromptPart[] => [
      ...(i === 0 ? [] : [{ kind: 'image' as const }]),
      ...(piece === '' ? [] : [{ kind: 'control' as const, text: piece }]),
    ]);
}

/** What is thought begins and ends with these. */
const thoughtStart = '<think>';
const thoughtEnd = '</think>';

/** Marks that stand for users' texts. */
class Marks {
  readonly #key: string;
  readonly #texts: string[] = [];
  /** Those that a template may leave out. */
  readonly #spare = new Set<number>();

  constructor(messages: readonly ChatMessage[]) {
    const all = messages
      .flatMap((message) => message.content)
      .map((part) => (part.type === 'text' ? part.text : ''))
      .join('\n');
    let key: string;
    do key = randomBytes(16).toString('hex');
    while (all.includes(key));
    this.#key = key;
  }

  /** Spaces at the ends stay outside of the mark: templates trim. */
  put(text: string): string {
    const core = trimmed(text);
    if (core === '') return text;
    const start = text.indexOf(core);
    this.#texts.push(core);
    return `${text.slice(0, start)}${this.#key}x${this.#texts.length - 1}y${text.slice(start + core.length)}`;
  }

  /** An answer that was given before: tags of thoughts are the template's to see, and what was thought may be left out. */
  putThought(text: string): string {
    const pieces = text.split(/(<\/?think>)/);
    const last = pieces.lastIndexOf(thoughtEnd);
    return pieces
      .map((piece, i) => {
        if (piece === thoughtStart || piece === thoughtEnd) return piece;
        const before = this.#texts.length;
        const mark = this.put(piece);
        if (i < last && this.#texts.length > before) this.#spare.add(before);
        return mark;
      })
      .join('');
  }

  split(rendered: string): readonly Exclude<PromptPart, { kind: 'image' }>[] {
    const pieces = rendered.split(new RegExp(`${this.#key}x(\\d+)y`, 'u'));
    // Pieces at odd places are the numbers of the marks.
    const parts = pieces.map((piece, i) =>
      i % 2 === 0
        ? { kind: 'control' as const, text: piece }
        : { kind: 'user' as const, text: this.#texts[Number(piece)] ?? '' },
    );
    const used = new Set(pieces.filter((_, i) => i % 2 === 1).map(Number));
    const lost = this.#texts.filter((_, i) => !used.has(i) && !this.#spare.has(i)).length;
    if (lost > 0)
      throw new OpabiniaError(`the chat template leaves out ${lost} of ${this.#texts.length} texts`, {
        op: 'chatTemplate',
        advice: 'it may take only some roles, or one message of each; see the model card',
      });
    return parts.filter((part) => part.text !== '');
  }
}
