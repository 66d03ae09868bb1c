// CV-Bench's part from Omni3D, as a file of its own.
import { gradeDeep, privateCvBench } from '../private-cv-bench.ts';

export const omni = privateCvBench({
  name: 'omni',
  title: 'CV-Bench Omni3D (private file)',
  source: '3D_VQA.json and its folder of pictures',
  grade: gradeDeep,
});
