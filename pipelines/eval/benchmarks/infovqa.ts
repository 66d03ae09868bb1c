// InfographicVQA (Mathew et al. 2022).
import { responseFormats } from '../../train/data/response-formats.ts';
import { documentQuestions } from '../document-questions.ts';

export const infovqa = documentQuestions({
  name: 'infovqa',
  title: 'InfographicVQA',
  source: 'lmms-lab/DocVQA, InfographicVQA, test',
  files: ['test'],
  suffix: responseFormats.phrase,
  id: 'questionId',
  to: 'https://rrc.cvc.uab.es/?ch=17&com=mymethods&task=3',
});
