// MMBench (Liu et al. 2023) in Chinese: the answer is its first word.
import { mmbench } from '../mmbench-questions.ts';
import { graded } from '../grade.ts';
import { plainWordOf } from '../matching/letters.ts';

export const mmbenchChinese = mmbench({
  name: 'mmbench-cn',
  title: 'MMBench (Chinese)',
  source: 'lmms-lab/MMBench_CN, dev',
  suffix: '请直接回答选项字母。',
  maxNewTokens: 128,
  grade: (answer, { answer: gold }) => {
    const parsed = plainWordOf(answer);
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
});
