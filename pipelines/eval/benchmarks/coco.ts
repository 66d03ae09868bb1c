// CV-Bench's part from COCO, as a file of its own.
import { gradeFlat, privateCvBench } from '../private-cv-bench.ts';

export const coco = privateCvBench({
  name: 'coco',
  title: 'CV-Bench COCO (private file)',
  source: 'SaiCharithaAkula21/benchmark_coco_filtered, train',
  grade: gradeFlat,
});
