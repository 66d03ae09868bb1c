// A journal knows questions by file, row and words; whether their pictures are those that were asked about, their bytes say.
import { createHash } from 'node:crypto';
import { JournalError, PictureError } from '../errors.ts';
import type { Journal, JournalKey } from '../journal.ts';
import type { Asked } from '../read/questions.ts';
import type { Picture } from '../read/row.ts';

/** Why a question was not asked whose picture could not be read; one that does not decode is read. */
export const unread = 'unread';

/** Digest of bytes, as an answer is kept with it. */
export function pictureDigest(pictures: readonly Uint8Array[]): string {
  const digest = createHash('sha256');
  for (const bytes of pictures) digest.update(bytes);
  return digest.digest('hex').slice(0, 16);
}

/** The bytes of a picture. Whatever goes wrong with reading one is that question's alone: throws `PictureError`. */
export async function readPicture(picture: Picture): Promise<Uint8Array> {
  try {
    return await picture.bytes();
  } catch (cause) {
    if (cause instanceof PictureError) throw cause;
    throw new PictureError(
      `${picture.name} does not read: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    );
  }
}

/**
 * The tasks that are to be asked: those without an answer, and those whose pictures could not be read and now can. Throws `JournalError`
 * where an answer is about another picture than the question has now.
 */
export async function openTasks<T extends { readonly key: JournalKey; readonly asked: Asked }>(
  tasks: readonly T[],
  journal: Journal,
): Promise<readonly T[]> {
  const known = new Map<Asked, string | undefined>();
  const digestOf = async (asked: Asked): Promise<string | undefined> => {
    if (!known.has(asked)) {
      const read = asked.item.pictures.map(readPicture);
      const all = await Promise.all(read).catch((error: unknown) => {
        if (error instanceof PictureError) return undefined;
        throw error;
      });
      known.set(asked, all === undefined ? undefined : pictureDigest(all));
    }
    return known.get(asked);
  };
  const open: T[] = [];
  for (const task of tasks) {
    const kept = journal.find(task.key);
    if (kept === undefined) open.push(task);
    else if (kept.reason === unread) {
      if ((await digestOf(task.asked)) === undefined) continue;
      journal.forget(task.key);
      open.push(task);
    } else if (kept.picture !== '') {
      const now = await digestOf(task.asked);
      if (now !== kept.picture)
        throw new JournalError(
          `the journal's answer to ${task.key.benchmark} ${task.key.question} is about another picture than ${now === undefined ? 'can be read' : 'stands there'} now: ${task.asked.item.pictures.map(({ name }) => name).join(', ')}`,
          'bring the pictures back, or give another --out; what was answered before stays',
        );
    }
  }
  return open;
}
