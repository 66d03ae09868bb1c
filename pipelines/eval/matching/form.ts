// Whether an answer has the form that was asked for, whatever it says.
import { strip, words } from './python-text.ts';

/** What a prompt asks for. `free`: anything but nothing. */
export type Form = 'letter' | 'yes or no' | 'word or phrase' | 'free';

const mostWords = 10;

/** `options`: how many a question with letters has. */
export function isInForm(answer: string, form: Form, options = 26): boolean {
  const text = strip(answer);
  switch (form) {
    case 'letter': {
      const found = /^\(?([a-z])\)?[.:]?$/i.exec(text)?.[1];
      return found !== undefined && found.toLowerCase().charCodeAt(0) - 97 < options;
    }
    case 'yes or no':
      return /^(?:yes|no)\.?$/i.test(text);
    case 'word or phrase':
      return text !== '' && !text.includes('\n') && words(text).length <= mostWords;
    case 'free':
      return text !== '';
    default:
      return form satisfies never;
  }
}
