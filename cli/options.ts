// Options that several commands have, checked.
import { OpabiniaError } from '../dsl/error.ts';

/** A whole number of at least one. Throws `OpabiniaError` that names the option. */
export function whole(option: string, text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && Number.isSafeInteger(value)) return value;
  throw new OpabiniaError(`${option} is '${text}'`, { advice: 'give a whole number above 0' });
}

/** Collects an option that may be given several times. */
export const several = (value: string, all: readonly string[]): readonly string[] => [...all, value];

/** A whole number from 0. Throws `OpabiniaError` that names the option. */
export function natural(option: string, text: string): number {
  return text === '0' ? 0 : whole(option, text);
}
