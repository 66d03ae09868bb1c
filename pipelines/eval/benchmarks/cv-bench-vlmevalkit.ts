// CV-Bench of the hub, asked as VLMEvalKit asks: with the data set's own words.
import { cvBench } from '../cv-bench-questions.ts';

export const cvBenchOfVlmEvalKit = cvBench({
  name: 'cv-bench-vlmevalkit',
  title: "CV-Bench (VLMEvalKit's prompt)",
  prompt: (text) => text,
  maxNewTokens: 2048,
});
