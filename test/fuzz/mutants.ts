// Mistakes planted into the compiler, one at a time, to prove that the fuzzer finds such.
import { graphMutants } from './mutants-graph.ts';
import { kernelMutants } from './mutants-kernel.ts';
import { planMutants } from './mutants-plan.ts';
import { recordMutants } from './mutants-record.ts';
import type { Mutation } from './judge.ts';

export interface Mutant extends Mutation {
  readonly name: string;
  /** What a compiler with this mistake does. */
  readonly what: string;
}

export const mutants: readonly Mutant[] = [...kernelMutants, ...planMutants, ...recordMutants, ...graphMutants];
