// Options that several commands have, checked.
import type { Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';

/** A whole number of at least one. Throws `OpabiniaError` that names the option. */
export function whole(option: string, text: string, from = 'above 0'): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && Number.isSafeInteger(value)) return value;
  throw new OpabiniaError(`${option} is '${text}'`, { advice: `give a whole number ${from}` });
}

/** Collects an option that may be given several times. */
export const several = (value: string, all: readonly string[]): readonly string[] => [...all, value];

/** A whole number from 0. Throws `OpabiniaError` that names the option. */
export function natural(option: string, text: string): number {
  return text === '0' ? 0 : whole(option, text, 'from 0');
}

interface Idle {
  readonly where: string;
  readonly advice: string;
}

/** Throws `OpabiniaError` where one of the options was typed, which would be taken and do nothing. Options by their attributes. */
export function refuseIdle(command: Command, options: readonly string[], { where, advice }: Idle): void {
  const idle = options.find((key) => command.getOptionValueSource(key) === 'cli');
  if (idle === undefined) return;
  const flag = command.options.find((option) => option.attributeName() === idle)?.long ?? idle;
  throw new OpabiniaError(`${flag} says nothing ${where}`, {
    op: command.name(),
    advice: `${advice}, or leave it out`,
  });
}

/** Throws `OpabiniaError` where an option of a command was typed that its subcommand, which is what runs, does not read. */
export function refuseAll(command: Command, but: readonly string[]): void {
  refuseOthers(command, but, { where: 'to this subcommand', advice: `see \`${command.name()} --help\`` });
}

/** As `refuseIdle`, of all options but some. */
export function refuseOthers(command: Command, but: readonly string[], idle: Idle): void {
  const options = command.options.map((option) => option.attributeName()).filter((key) => !but.includes(key));
  refuseIdle(command, options, idle);
}
