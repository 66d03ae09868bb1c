// Messages of a chat as a question: the system's words, what was said before, pictures out of data URLs.
import { OpabiniaError } from '../../dsl/error.ts';
import type { Turn } from '../../models/sequence/conversation.ts';
import { decodeImage, type Image } from '../../runtime/image/image.ts';
import type { Question } from '../answer/family.ts';
import { ApiError } from './api-error.ts';
import type { ChatMessage } from './chat-request.ts';

/** A picture as it was sent, and the field that it stood in. */
export interface SentPicture {
  readonly url: string;
  readonly param: string;
}

/** A question whose pictures are not decoded yet. */
export interface SentQuestion {
  readonly question: Omit<Question, 'images'>;
  readonly pictures: readonly SentPicture[];
}

/**
 * Texts of one message, and of messages of one speaker behind one another, stand on lines of their own; pictures stand in front of the text
 * of their turn, as the templates have it. Throws `ApiError` where the last word is not the user's.
 */
export function questionOf(messages: readonly ChatMessage[]): SentQuestion {
  const system: string[] = [];
  const pictures: SentPicture[] = [];
  const turns: { role: Turn['role']; texts: string[]; images: number }[] = [];
  messages.forEach((message, at) => {
    const { role, content } = message;
    if (role === 'system' || role === 'developer') {
      if (turns.length > 0)
        throw new ApiError(400, `messages[${at}]: a ${role} message stands behind others`, {
          param: `messages[${at}].role`,
          code: 'invalid_value',
        });
      system.push(textOf(content));
      return;
    }
    const last = turns.at(-1);
    const turn = last?.role === role ? last : { role, texts: [], images: 0 };
    if (turn !== last) turns.push(turn);
    turn.texts.push(textOf(content));
    if (typeof content === 'string') return;
    content.forEach((part, i) => {
      if (part.type !== 'image_url') return;
      turn.images++;
      pictures.push({ url: part.image_url.url, param: `messages[${at}].content[${i}].image_url.url` });
    });
  });
  const asked = turns.pop();
  const [first] = turns;
  if (asked?.role !== 'user')
    throw new ApiError(400, 'messages: the last one must be the user’s', { param: 'messages', code: 'invalid_value' });
  if (first?.role === 'assistant')
    throw new ApiError(400, 'messages: the user speaks first', { param: 'messages', code: 'invalid_value' });
  return {
    question: {
      text: asked.texts.join('\n'),
      system: system.length === 0 ? undefined : system.join('\n'),
      history:
        turns.length === 0
          ? undefined
          : turns.map(({ role, texts, images }) => ({ role, text: texts.join('\n'), images })),
    },
    pictures,
  };
}

function textOf(content: ChatMessage['content']): string {
  if (typeof content === 'string') return content;
  return content.flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('\n');
}

const dataUrl = /^data:image\/(?:png|jpe?g|webp);base64,/i;
/** Characters of a URL that are shown. */
const shown = 40;

/** Throws `ApiError` for what is not a data URL of a PNG, JPEG or WebP: nothing is fetched from anywhere. */
export async function decodePicture({ url, param }: SentPicture, upright: boolean): Promise<Image> {
  const about = { param, code: 'invalid_image' };
  const head = dataUrl.exec(url)?.[0];
  if (head === undefined)
    throw new ApiError(
      400,
      /^data:/i.test(url)
        ? `${param}: pictures are base64 data URLs of PNG, JPEG or WebP, and this one begins with '${url.slice(0, shown)}'`
        : `${param}: pictures are taken as data URLs alone, nothing is fetched: send data:image/png;base64,…`,
      about,
    );
  const text = url.slice(head.length);
  if (!isBase64(text)) throw new ApiError(400, `${param}: what follows 'base64,' is not base64`, about);
  try {
    return await decodeImage(Buffer.from(text, 'base64'), { name: 'the picture', upright });
  } catch (error) {
    if (error instanceof OpabiniaError) throw new ApiError(400, `${param}: ${error.what}`, { ...about, cause: error });
    throw error;
  }
}

/** Node reads around what is not base64; a client that sends it means something else. */
function isBase64(text: string): boolean {
  return text.length > 0 && text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
}
