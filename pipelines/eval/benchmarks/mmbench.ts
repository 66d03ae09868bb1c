// MMBench (Liu et al. 2023) in English: each question again with its options rotated; right is what is right in all rotations.
import { responseFormats } from '../../train/data/response-formats.ts';
import { mmbench } from '../mmbench-questions.ts';
import { graded } from '../grade.ts';
import { letterOf } from '../matching/letters.ts';

export const mmbenchEnglish = mmbench({
  name: 'mmbench',
  title: 'MMBench (English)',
  source: 'lmms-lab/MMBench_EN, dev',
  suffix: responseFormats.option,
  maxNewTokens: 512,
  group: 'General',
  grade: (answer, { answer: gold }) => {
    const parsed = letterOf(answer, '.:,');
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
});
