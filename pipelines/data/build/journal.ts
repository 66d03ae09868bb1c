// What a build has done so far, in a database beside its output: pages that were found, replies that were given. Nothing is asked twice.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { OpabiniaError } from '../../../dsl/error.ts';
import type { Match } from './find-pages.ts';
import { makeFolder } from '../../../runtime/files/make-folder.ts';

export interface Reply {
  /** What was made of it as JSON, or undefined where it was of no use. */
  readonly value: string | undefined;
  readonly reason: string | undefined;
}

export class Journal {
  readonly #database: DatabaseSync;

  /** Makes the folder. Throws `OpabiniaError` for a folder that holds something else, and for the journal of another build. */
  constructor(folder: string, settings: string) {
    const path = join(folder, 'journal.sqlite');
    const there = existsSync(folder) ? readdirSync(folder) : [];
    if (there.length > 0 && !existsSync(path))
      throw new OpabiniaError(`${folder} holds something else`, { op: 'data', advice: 'give a folder of its own' });
    if (!existsSync(dirname(resolve(folder))))
      throw new OpabiniaError(`there is no directory ${dirname(resolve(folder))}`, {
        op: 'data',
        advice: 'make it first',
      });
    makeFolder(folder);
    try {
      this.#database = new DatabaseSync(path);
      this.#database.exec(`
        pragma journal_mode = wal;
        create table if not exists facts (name text primary key, value text not null);
        create table if not exists pages (title text primary key, text text not null);
        create table if not exists matches (topic text, title text, rank integer, primary key (topic, title));
        create table if not exists replies (key text primary key, value text, reason text);`);
    } catch (cause) {
      throw new OpabiniaError(`${path} is not a journal: ${cause instanceof Error ? cause.message : String(cause)}`, {
        op: 'data',
        cause,
        advice: 'give another folder',
      });
    }
    const before = this.fact('settings');
    if (before !== undefined && before !== settings) {
      this.close();
      throw new OpabiniaError(`${folder} is of another build: ${before.slice(0, 300)}`, {
        op: 'data',
        advice: 'give another folder, or the same topics, pages, model and number of pages',
      });
    }
    this.setFact('settings', settings);
  }

  fact(name: string): string | undefined {
    const row = this.#database.prepare('select value from facts where name = ?').get(name);
    return row === undefined ? undefined : String(row['value']);
  }

  setFact(name: string, value: string): void {
    this.#database.prepare('insert or replace into facts values (?, ?)').run(name, value);
  }

  /** All of it, or nothing where `work` throws. */
  async transaction(work: () => Promise<void>): Promise<void> {
    this.#database.exec('begin');
    try {
      await work();
      this.#database.exec('commit');
    } catch (error) {
      this.#database.exec('rollback');
      throw error;
    }
  }

  keepPage(title: string, text: string): void {
    this.#database.prepare('insert or replace into pages values (?, ?)').run(title, text);
  }

  /** Keeps these matches, and no page that none of them means. */
  keepMatches(matches: readonly Match[]): void {
    this.#database.exec('delete from matches');
    const insert = this.#database.prepare('insert into matches values (?, ?, ?)');
    for (const { topic, title, rank } of matches) insert.run(topic, title, rank);
    this.#database.exec('delete from pages where title not in (select title from matches)');
  }

  /** Titles of the pages of a topic, the best first. */
  titles(topic: string): readonly string[] {
    const rows = this.#database.prepare('select title from matches where topic = ? order by rank, title').all(topic);
    return rows.map((row) => String(row['title']));
  }

  page(title: string): string | undefined {
    const row = this.#database.prepare('select text from pages where title = ?').get(title);
    return row === undefined ? undefined : String(row['text']);
  }

  reply(key: string): Reply | undefined {
    const row = this.#database.prepare('select value, reason from replies where key = ?').get(key);
    if (row === undefined) return undefined;
    const [value, reason] = [row['value'], row['reason']];
    return {
      value: typeof value === 'string' ? value : undefined,
      reason: typeof reason === 'string' ? reason : undefined,
    };
  }

  keepReply(key: string, { value, reason }: Reply): void {
    this.#database.prepare('insert or replace into replies values (?, ?, ?)').run(key, value ?? null, reason ?? null);
  }

  close(): void {
    this.#database.close();
  }
}
