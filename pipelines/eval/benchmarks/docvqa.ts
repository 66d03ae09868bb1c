// DocVQA (Mathew et al. 2021).
import { responseFormats } from '../../train/data/response-formats.ts';
import { documentQuestions } from '../document-questions.ts';

export const docvqa = documentQuestions({
  name: 'docvqa',
  title: 'DocVQA',
  source: 'lmms-lab/DocVQA, DocVQA, test',
  files: ['test'],
  group: 'OCR & Chart',
  suffix: responseFormats.short,
  id: 'questionId',
  to: 'https://rrc.cvc.uab.es/?ch=17&com=mymethods&task=2',
});
