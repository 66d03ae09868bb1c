// Cambrian-1's conversation templates to the character, and how the pieces between images become one sequence of ids.
import { OpabiniaError } from '../../dsl/index.ts';
import { imagePlaceholder } from './collate.ts';

/** A prompt in parts: `control` is the template's, `user` anyone else's, which can never become a control token. */
export type ConversationPart =
  | { readonly kind: 'control'; readonly text: string }
  | { readonly kind: 'user'; readonly text: string }
  | { readonly kind: 'image' };

export interface Turn {
  readonly role: 'user' | 'assistant';
  readonly text: string;
  /** Images shown with the turn; each stands in front of its text on a line of its own. */
  readonly images?: number | undefined;
}

export type TemplateName = 'llama_3' | 'chatml_direct' | 'vicuna_v1' | 'phi3';

interface Template {
  readonly system: string;
  readonly before: (system: string | undefined) => readonly ConversationPart[];
  /** What stands in front of a turn's text, and behind it. */
  readonly head: Readonly<Record<Turn['role'], string>>;
  readonly tail: Readonly<Record<Turn['role'], string>>;
  /** What asks for an answer. */
  readonly ask: string;
}

const control = (text: string): ConversationPart => ({ kind: 'control', text });
const user = (text: string): ConversationPart => ({ kind: 'user', text });

const sentences = [
  'You are Cambrian, a highly intelligent multimodal AI trained by NYU Vision X.',
  'As a multimodal AI, you have the ability to process and analyze images. Whenever an image is present in the conversation, very carefully examine it and consider its content when formulating your response.',
  'You should give concise responses to very simple questions, but provide thorough responses to more complex and open-ended questions.',
] as const;

const header = (role: string) => `<|start_header_id|>${role}<|end_header_id|>`;

/** A template's own words for the system are `control`, so that they are tokenised as its own; a user's are not. */
const around =
  (open: string, own: string, close: string) =>
  (system: string | undefined): readonly ConversationPart[] =>
    system === undefined ? [control(open + own + close)] : [control(open), user(system), control(close)];

// As the code runs: line breaks with the indents of its source, and a space at the end.
const llamaSystem = `${sentences[0]} \n    ${sentences[1]}\n    ${sentences[2]} `;
const chatmlSystem = sentences.join(' ');
const vicunaSystem =
  "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.";
const phiSystem = 'You are a helpful AI assistant.';

const templates: Readonly<Record<TemplateName, Template>> = {
  // No newlines after the headers, unlike Meta's own template.
  llama_3: {
    system: llamaSystem,
    before: around(`<|begin_of_text|>${header('system')}`, llamaSystem, '<|eot_id|>'),
    head: { user: header('user'), assistant: header('assistant') },
    tail: { user: '<|eot_id|>', assistant: '<|eot_id|>' },
    ask: header('assistant'),
  },
  chatml_direct: {
    system: chatmlSystem,
    before: around('<|im_start|>system\n', chatmlSystem, '<|im_end|>'),
    head: { user: '<|im_start|>user\n', assistant: '<|im_start|>assistant\n' },
    tail: { user: '<|im_end|>', assistant: '<|im_end|>' },
    ask: '<|im_start|>assistant\n',
  },
  vicuna_v1: {
    system: vicunaSystem,
    before: around('', vicunaSystem, ' '),
    head: { user: 'USER: ', assistant: 'ASSISTANT: ' },
    tail: { user: ' ', assistant: '</s>' },
    ask: 'ASSISTANT:',
  },
  phi3: {
    system: phiSystem,
    before: around('<|system|>\n', phiSystem, '<|end|>'),
    head: { user: '\n<|user|>\n', assistant: '\n<|assistant|>\n' },
    tail: { user: '<|end|>', assistant: '<|end|>' },
    ask: '\n<|assistant|>\n',
  },
};

export const templateNames = Object.keys(templates) as readonly TemplateName[];

/** The template's own words for the system. */
export function systemText(name: TemplateName): string {
  return templates[name].system;
}

/** The template that a released model was trained with, told from the control tokens that its tokenizer has. */
export function templateFor(has: (token: string) => boolean): TemplateName {
  if (has('<|start_header_id|>')) return 'llama_3';
  if (has('<|im_start|>')) return 'chatml_direct';
  return has('<|end|>') && has('<|assistant|>') ? 'phi3' : 'vicuna_v1';
}

/** Tokens that end an answer. */
export const stopTokens: Readonly<Record<TemplateName, readonly string[]>> = {
  llama_3: ['<|eot_id|>', '<|end_of_text|>'],
  chatml_direct: ['<|im_end|>'],
  vicuna_v1: ['</s>'],
  phi3: ['<|end|>', '<|endoftext|>'],
};

const imageText = '<image>';

/** Throws `OpabiniaError` where a text spells an image: images come from files alone, and a model was never shown the word in a question. */
export function checkUserText(text: string, what = 'the prompt'): void {
  const at = text.indexOf(imageText);
  if (at >= 0)
    throw new OpabiniaError(`${what} holds ${imageText} at character ${at}, which stands for an image in templates`, {
      op: 'conversation',
      advice: 'leave it out: the images given with the prompt are put in front of it',
    });
}

export interface ConversationOptions {
  /** Instead of the template's own words. */
  readonly system?: string | undefined;
  /** End with the words that ask for an answer; by default unless the last turn is one. Cambrian's llama_3 has them in training too. */
  readonly ask?: boolean | undefined;
}

/** The conversation in parts. Throws `OpabiniaError` for a conversation that does not begin with a user, roles that do not alternate, and `<image>` in a text. */
export function conversationParts(
  name: TemplateName,
  turns: readonly Turn[],
  options: ConversationOptions = {},
): readonly ConversationPart[] {
  const template = templates[name];
  if (options.system !== undefined) checkUserText(options.system, 'the system prompt');
  const parts = [...template.before(options.system)];
  turns.forEach((turn, i) => {
    if (turn.role !== (i % 2 === 0 ? 'user' : 'assistant'))
      throw new OpabiniaError(`turn ${i} is the ${turn.role}'s`, {
        op: 'conversation',
        advice: 'user and assistant take turns, and the user begins',
      });
    checkUserText(turn.text, i === 0 ? 'the prompt' : `turn ${i}`);
    parts.push(control(template.head[turn.role]));
    for (let image = 0; image < (turn.images ?? 0); image++) parts.push({ kind: 'image' }, control('\n'));
    parts.push(user(turn.text), control(template.tail[turn.role]));
  });
  if (options.ask ?? turns.at(-1)?.role !== 'assistant') parts.push(control(template.ask));
  return joinNeighbours(parts);
}

function joinNeighbours(parts: readonly ConversationPart[]): readonly ConversationPart[] {
  const joined: ConversationPart[] = [];
  for (const part of parts) {
    const last = joined.at(-1);
    if (part.kind !== 'image' && part.text === '') continue;
    if (part.kind !== 'image' && last?.kind === part.kind)
      joined[joined.length - 1] = { kind: part.kind, text: last.text + part.text };
    else joined.push(part);
  }
  return joined;
}

/** The prompt as one text, an image as `<image>`: for people, and for comparing with the reference. */
export function promptText(parts: readonly ConversationPart[]): string {
  return parts.map((part) => (part.kind === 'image' ? imageText : part.text)).join('');
}

// ---- ids -----------------------------------------------------------------------------------------------------------

/**
 * How pieces between images are joined. `reference`: Cambrian's `tokenizer_image_token`: where the first piece begins with the
 * begin-of-text token, the first id of every piece is dropped and that token put in front once. `plain`: one after the other, as its
 * training does for llama_3.
 */
export type Joiner = 'reference' | 'plain';

/** One sequence with `imagePlaceholder` between the pieces. */
export function joinChunks(
  chunks: readonly (readonly number[])[],
  joiner: Joiner,
  begin: number | undefined,
): readonly number[] {
  const drop = joiner === 'reference' && begin !== undefined && chunks[0]?.[0] === begin;
  const ids = chunks.flatMap((chunk, i) => [
    ...(i === 0 ? [] : [imagePlaceholder]),
    ...(drop ? chunk.slice(1) : chunk),
  ]);
  return drop ? [begin, ...ids] : ids;
}

/** Ids of one piece; `automatic`: with the tokens that the tokenizer adds by itself. */
export type EncodeChunk = (
  parts: readonly Exclude<ConversationPart, { kind: 'image' }>[],
  options: { readonly automatic: boolean },
) => readonly number[];

export interface PromptOptions {
  /** By default that of `joinerOf`. */
  readonly joiner?: Joiner | undefined;
  readonly begin?: number | undefined;
}

/** How a template's pieces are joined: plain for llama_3, which holds the begin-of-text token itself. */
export function joinerOf(name: TemplateName): Joiner {
  return name === 'llama_3' ? 'plain' : 'reference';
}

/** What stands between images: one piece more than there are images. */
export function promptChunks(
  parts: readonly ConversationPart[],
): readonly (readonly Exclude<ConversationPart, { kind: 'image' }>[])[] {
  const chunks: Exclude<ConversationPart, { kind: 'image' }>[][] = [[]];
  for (const part of parts) {
    if (part.kind === 'image') chunks.push([]);
    else chunks.at(-1)?.push(part);
  }
  return chunks;
}

/**
 * Ids of a whole prompt. For llama_3 nothing is added by the tokenizer: the image then begins at 91 with the released vocabulary, as
 * in training; a second begin-of-text token would move it.
 */
export function promptIds(
  name: TemplateName,
  parts: readonly ConversationPart[],
  encode: EncodeChunk,
  options: PromptOptions = {},
): readonly number[] {
  const joiner = options.joiner ?? joinerOf(name);
  return joinChunks(
    promptChunks(parts).map((chunk) => encode(chunk, { automatic: joiner === 'reference' })),
    joiner,
    options.begin,
  );
}

/**
 * Where the first image stands. Throws `OpabiniaError` when a model that looks for it at a fixed position would look elsewhere, and
 * for a prompt without an image.
 */
export function checkImagePosition(ids: ArrayLike<number>, position: number | undefined): number {
  const at = Array.from(ids).indexOf(imagePlaceholder);
  if (at < 0)
    throw new OpabiniaError('the prompt has no image, and the model answers about images', {
      op: 'conversation',
      advice: 'give one: --image FILE, or an image_url part of what a server is asked',
    });
  if (position !== undefined && at !== position) {
    throw new OpabiniaError(`the image begins at token ${at}, and the model's config says image_position ${position}`, {
      op: 'conversation',
      advice: "keep the template's own system prompt, or let the image block stand at its true position",
    });
  }
  return at;
}
