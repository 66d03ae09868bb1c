// CV-Bench's part from ADE20K, as a file of its own.
import { gradeFlat, privateCvBench } from '../private-cv-bench.ts';

export const ade = privateCvBench({
  name: 'ade',
  title: 'CV-Bench ADE20K (private file)',
  source: 'SaiCharithaAkula21/benchmark_ade_manual, train',
  grade: gradeFlat,
});
