// What an evaluation refuses before anything is loaded on a device: one class for each reason.
import { OpabiniaError } from '../../dsl/error.ts';

/** A file of a benchmark that has not the columns that its adapter reads. */
export class BenchmarkColumnsError extends OpabiniaError {
  readonly file: string;
  readonly found: readonly string[];
  /** Of several names in one entry any would do. */
  readonly needed: readonly (readonly string[])[];

  constructor(file: string, benchmark: string, found: readonly string[], needed: readonly (readonly string[])[]) {
    const missing = needed.filter((names) => !names.some((name) => found.includes(name)));
    const said = (all: readonly (readonly string[])[]): string => all.map((names) => names.join(' or ')).join(', ');
    super(
      `${file} has not the columns of ${benchmark}: ${said(missing)} ${missing.length === 1 ? 'is' : 'are'} missing; found: ${found.join(', ') || 'none'}; needed: ${said(needed)}`,
      { op: 'eval', advice: 'check that the file belongs to this benchmark, or name another with --bench' },
    );
    this.name = 'BenchmarkColumnsError';
    this.file = file;
    this.found = found;
    this.needed = needed;
  }
}

/** A file of a benchmark that is missing, empty, or does not read. */
export class BenchmarkFileError extends OpabiniaError {
  constructor(what: string, advice: string, cause?: unknown) {
    super(what, { op: 'eval', advice, ...(cause === undefined ? {} : { cause }) });
    this.name = 'BenchmarkFileError';
  }
}

/** A journal of another model, of other questions, of another program, or one that is in use. */
export class JournalError extends OpabiniaError {
  constructor(what: string, advice: string, cause?: unknown) {
    super(what, { op: 'eval', advice, ...(cause === undefined ? {} : { cause }) });
    this.name = 'JournalError';
  }
}

/** A picture of a question that cannot be read or decoded: the question is counted wrong and listed. */
export class PictureError extends OpabiniaError {
  constructor(what: string, cause?: unknown) {
    super(what, {
      op: 'eval',
      advice:
        'the question is counted as wrong and listed; mend the file and delete its row from the journal to ask it',
      ...(cause === undefined ? {} : { cause }),
    });
    this.name = 'PictureError';
  }
}

/** No answer had the form that was asked for: what is measured then is obedience. Told, not thrown, when everything is written. */
export class NeverInFormError extends OpabiniaError {
  constructor(benchmark: string, form: string, count: number) {
    super(`none of the ${count} answers to ${benchmark} is a ${form}, as was asked`, {
      op: 'eval',
      advice: 'read the samples: the chat template may be wrong, or the model was not taught short answers',
    });
    this.name = 'NeverInFormError';
  }
}
