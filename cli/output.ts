// The one way in which commands write: texts of strangers (names, configs, tokens) never reach a terminal raw.
import { inspect } from 'node:util';
import { OpabiniaError } from '../dsl/error.ts';
import { systemError } from '../runtime/files/system-error.ts';
import { printable } from '../runtime/text/printable.ts';

/** A result, or a part of one, on stdout. */
export function write(text: string): void {
  process.stdout.write(printable(text));
}

/** A line of a result on stdout. */
export function say(line: string): void {
  write(`${line}\n`);
}

/** A line about what happens, on stderr. */
export function tell(line: string): void {
  process.stderr.write(`${printable(line)}\n`);
}

/** Over the line that was written last, where stderr is a terminal. */
export function rewrite(line: string, end = ''): void {
  process.stderr.write(`\r\x1b[2K${printable(line)}${end}`);
}

/** What went wrong: the message of a typed error, all that is known of any other. */
export function tellError(error: unknown): void {
  tell(error instanceof OpabiniaError ? `opabinia: ${error.message}` : inspect(error));
}

/** A reader that goes away (`| head`) ends the command with exit code 1; nobody is told where nobody reads. */
export function guardOutput(): void {
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', (error) => {
    tellError(systemError(error, 'stdout') ?? error);
    process.exit(1);
  });
}
