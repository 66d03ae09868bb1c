// ST-VQA (Biten et al. 2019).
import { responseFormats } from '../../train/data/response-formats.ts';
import { documentQuestions } from '../document-questions.ts';

export const stvqa = documentQuestions({
  name: 'stvqa',
  title: 'ST-VQA',
  source: 'lmms-lab/ST-VQA, test',
  files: ['test'],
  suffix: responseFormats.phrase,
  id: 'question_id',
  to: 'https://rrc.cvc.uab.es/?ch=11&com=mymethods&task=3',
});
