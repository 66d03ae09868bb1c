// CV-Bench of the hub, asked as the paper's own evaluation asks.
import { responseFormats } from '../../train/data/response-formats.ts';
import { cvBench } from '../cv-bench-questions.ts';

export const cvBenchOfPaper = cvBench({
  name: 'cv-bench',
  title: "CV-Bench (the paper's prompt)",
  prompt: (text) => `${text}\n${responseFormats.option}`,
  maxNewTokens: 512,
});
