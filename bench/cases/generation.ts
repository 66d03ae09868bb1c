// A whole answer, from a photograph to tokens.
import type { GenerationCase } from '../case.ts';

export const generationCases: readonly GenerationCase[] = [
  {
    name: 'cambrian-small',
    about: 'the made Cambrian end to end, f32: a photograph and a question, four towers, SVA, 32 tokens',
    generation: true,
  },
];
