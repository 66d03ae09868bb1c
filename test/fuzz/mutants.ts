// Mistakes planted into the compiler, to prove that the fuzzer finds such.
import type { Mutation } from './judge.ts';

export interface Mutant extends Mutation {
  readonly name: string;
  /** What a compiler with this mistake does. */
  readonly what: string;
}

export const mutants: readonly Mutant[] = [];
