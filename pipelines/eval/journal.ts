// Which questions a model has answered, and what: written as each answer comes, so that a run that was killed goes on.
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { JournalError } from './errors.ts';
import { makeFolder } from '../../runtime/files/make-folder.ts';

/** An answer as it is kept. */
export interface Kept {
  readonly text: string;
  readonly tokens: number;
  readonly reason: string;
  /** Digest of the picture's bytes; '' without. */
  readonly picture: string;
  /** Why it could not be asked; '' where it was. */
  readonly failure: string;
}

/** Which question: `how` is `sighted` or the way of being blind. */
export interface JournalKey {
  readonly benchmark: string;
  readonly how: string;
  readonly question: string;
  /** Of everything that was asked: another prompt or another limit is another question. */
  readonly digest: string;
}

const version = 1;

const tables = `
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS answers (
    benchmark TEXT NOT NULL, how TEXT NOT NULL, question TEXT NOT NULL, digest TEXT NOT NULL,
    text TEXT NOT NULL, tokens INTEGER NOT NULL, reason TEXT NOT NULL, picture TEXT NOT NULL, failure TEXT NOT NULL,
    PRIMARY KEY (benchmark, how, question)
  ) STRICT;`;

export class Journal {
  readonly #database: DatabaseSync;
  readonly #find: StatementSync;
  readonly #keep: StatementSync;
  readonly #forget: StatementSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
    this.#find = database.prepare(
      'SELECT digest, text, tokens, reason, picture, failure FROM answers WHERE benchmark = ? AND how = ? AND question = ?',
    );
    this.#forget = database.prepare('DELETE FROM answers WHERE benchmark = ? AND how = ? AND question = ?');
    this.#keep = database.prepare(
      'INSERT INTO answers (benchmark, how, question, digest, text, tokens, reason, picture, failure) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
  }

  /**
   * Opens the journal of a model, or begins one. `model` is what the model is known by (`modelIdentity`). Throws `JournalError` where the
   * file is the journal of another model, is not a journal, or is being written by another process.
   */
  static open(path: string, model: Readonly<Record<string, string>>): Journal {
    makeFolder(dirname(path));
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(path);
      // One writer: a second process would ask everything a second time.
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;');
      database.exec(tables);
      checkModel(database, path, model);
      return new Journal(database);
    } catch (cause) {
      database?.close();
      if (cause instanceof JournalError) throw cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw /locked|busy/.test(reason)
        ? new JournalError(`${path} is being written by another process`, 'wait for it, or give another --out', cause)
        : new JournalError(`${path} is not a journal: ${reason}`, 'give another --out, or move the file away', cause);
    }
  }

  /** What was answered; undefined where it was not asked. Throws `JournalError` where another question was asked in its place. */
  find({ benchmark, how, question, digest }: JournalKey): Kept | undefined {
    const row = this.#find.get(benchmark, how, question);
    if (row === undefined) return undefined;
    const [text, reason, picture, failure] = ['text', 'reason', 'picture', 'failure'].map((name) => String(row[name]));
    if (row['digest'] !== digest)
      throw new JournalError(
        `the journal holds another question for ${benchmark} ${question}: another file, prompt or --max-new-tokens`,
        'give another --out; what was answered before stays',
      );
    return {
      text: text ?? '',
      tokens: Number(row['tokens']),
      reason: reason ?? '',
      picture: picture ?? '',
      failure: failure ?? '',
    };
  }

  /** Keeps an answer; it is on the disk when this returns, as far as a killed process is concerned. */
  keep({ benchmark, how, question, digest }: JournalKey, { text, tokens, reason, picture, failure }: Kept): void {
    this.#keep.run(benchmark, how, question, digest, text, tokens, reason, picture, failure);
  }

  /** For a question that is to be asked again. */
  forget({ benchmark, how, question }: JournalKey): void {
    this.#forget.run(benchmark, how, question);
  }

  close(): void {
    this.#database.close();
  }
}

function checkModel(database: DatabaseSync, path: string, model: Readonly<Record<string, string>>): void {
  const known = database.prepare("SELECT value FROM meta WHERE name = 'model'").get();
  if (known === undefined) {
    const insert = database.prepare('INSERT INTO meta (name, value) VALUES (?, ?)');
    insert.run('version', String(version));
    insert.run('model', JSON.stringify(model));
    return;
  }
  const written = database.prepare("SELECT value FROM meta WHERE name = 'version'").get();
  if (written?.['value'] !== String(version))
    throw new JournalError(
      `${path} is a journal of version ${String(written?.['value'])}, this program writes ${version}`,
      'give another --out',
    );
  const before = JSON.parse(String(known['value'])) as Readonly<Record<string, string>>;
  const other = Object.keys({ ...before, ...model }).filter((name) => before[name] !== model[name]);
  if (other.length > 0)
    throw new JournalError(
      `${path} is the journal of another model: ${other.map((name) => `${name} was ${before[name] ?? 'none'} and is ${model[name] ?? 'none'}`).join(', ')}`,
      'give another --out for this model',
    );
}
