// Cases that the race is to have and that cannot run yet: printed like the others.
import type { AbsentCase } from '../case.ts';

export const absentCases: readonly AbsentCase[] = [
  { name: 'q4-gemv', about: 'q4 weights 4096 × 4096 times a vector', absent: 'not there yet: there is no q4 storage' },
];
