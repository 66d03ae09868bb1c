// CV-Bench of the hub, asked as lmms-eval asks (`cv_bench_doc_to_text`).
import { cvBench } from '../cv-bench-questions.ts';
import { letterAt } from '../matching/letters.ts';

export const cvBenchOfLmmsEval = cvBench({
  name: 'cv-bench-lmms-eval',
  title: "CV-Bench (lmms-eval's prompt)",
  prompt: (text, options) => {
    const letters = options.map((_, i) => letterAt(i)).join(', ');
    return `Note: You only need to respond with ${letters} without providing any additional information.\n\n${text}`;
  },
  maxNewTokens: 1024,
});
