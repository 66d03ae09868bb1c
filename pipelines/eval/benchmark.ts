// What an adapter of a benchmark says: which columns it reads, how a row becomes a question, how an answer is counted.
import type { Form } from './matching/form.ts';
import type { Picture, Row } from './read/row.ts';

/** What is kept of a question to count its answer: plain JSON. */
export type Gold = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface Item {
  readonly prompt: string;
  readonly pictures: readonly Picture[];
  readonly gold: Gold;
  /** Tables have a row for each value; the first key is the one that is printed. */
  readonly slices: Readonly<Record<string, string>>;
  /** Share that a guess gets right: one over the number of options; 0 where there are none. */
  readonly chance: number;
  /** How many letters may be answered. */
  readonly options?: number | undefined;
  /** What the data set itself calls the row, for submission files. */
  readonly id?: string | number | undefined;
}

/** How an answer was counted. */
export interface Grade {
  /** From 0 to 1. */
  readonly score: number;
  /** What was taken for the answer. */
  readonly parsed: string;
}

/** An item with its answer. `answer` is '' where it could not be asked (the picture does not decode). */
export interface Answered {
  readonly item: Item;
  readonly index: number;
  readonly answer: string;
  readonly grade: Grade | undefined;
  /** Digest of the picture's bytes: rotations of one question have the same picture. */
  readonly picture: string;
}

/** A named figure of a benchmark. */
export interface Score {
  readonly name: string;
  readonly value: number;
  /** `share`: of 1; `points`: as the benchmark counts them. */
  readonly unit: 'share' | 'points';
  /** How many things the share is of; absent where there is no interval (means of means, points). */
  readonly of?: number | undefined;
  /** What guessing reaches, where it is known. */
  readonly chance?: number | undefined;
}

/** What a leaderboard takes. */
export interface Submission {
  readonly file: string;
  readonly content: string;
  /** Where it goes. */
  readonly to: string;
}

/** The paper's groups of benchmarks. */
export type Group = 'General' | 'Knowledge' | 'OCR & Chart' | 'Vision-Centric';

export interface Benchmark {
  readonly name: string;
  readonly title: string;
  /** The data set and split that the original evaluates, or the files. */
  readonly source: string;
  /** Of several files of a directory, those that have one of these in their names; all where none has. */
  readonly files?: readonly string[] | undefined;
  /** Columns that must be there; of several names in one entry any. */
  readonly columns: readonly (readonly string[])[];
  /** Rows of another table, by folder, that hold the pictures. */
  readonly pictures?: PictureTable | undefined;
  readonly group?: Group | undefined;
  readonly form: Form;
  /** Tokens of an answer at most. */
  readonly maxNewTokens: number;
  /** The question of a row; undefined where the row is not asked (a video, a question without picture). Throws `OpabiniaError`. */
  readonly item: (row: Row) => Item | undefined;
  /** Absent where only a submission file is made. */
  readonly grade?: ((answer: string, gold: Gold) => Grade | undefined) | undefined;
  /** The benchmark's figures, the first the one that is reported; by default the mean. Answers are in the order of the file. */
  readonly scores?: ((answers: readonly Answered[]) => readonly Score[]) | undefined;
  readonly submission?: ((answers: readonly Answered[], model: string) => Submission | undefined) | undefined;
}

export interface PictureTable {
  /** In the path of its files. */
  readonly files: string;
  /** Column of the rows, and of the pictures' table. */
  readonly key: string;
  readonly id: string;
  readonly column: string;
}
