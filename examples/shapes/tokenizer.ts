// The tokenizer of the small Cambrian: every word of its questions and answers is one token, and so are the words of the template.
import { systemText } from '../../models/sequence/conversation.ts';
import { responseFormats } from '../../pipelines/train/data/response-formats.ts';
import { answers } from '../../pipelines/shapes/scene/questions.ts';
import { colors, kinds } from '../../pipelines/shapes/scene/scene.ts';
import { controlTokens, makeTokenizer, type MadeTokenizer } from '../made/vocabulary.ts';

/** What questions are made of: each stands behind an image's line break or behind a space. */
const sentences = [
  'Which cell is the in?',
  'What color is the shape in row a, column 1, b 2, c 3, d 4?',
  'Is the left or right of the above or below the?',
  'How many shapes are there?',
  'Which is nearer, the or the?',
  'What sign word is on the?',
  'Describe the picture. There is a at.',
  responseFormats.phrase,
];
/** Words of answers and captions, always behind a space. */
const words = [...colors, ...kinds, ...answers];
const corpus = [...sentences.flatMap((text) => [text, ` ${text}`]), ...words.map((word) => ` ${word}`)].join('\n');

const header = (role: string) => `<|start_header_id|>${role}<|end_header_id|>`;
/** The longest that fits is taken, so that a header, and the template's own words, are one token each. */
const templateTokens = [header('system'), header('user'), header('assistant'), systemText('llama_3')];

/** 256 bytes, what merges give, and the control tokens. */
export const vocabulary = 479;

export function shapesTokenizer(): MadeTokenizer {
  return makeTokenizer(vocabulary, {
    controls: [...controlTokens, ...templateTokens] as unknown as readonly [string, ...string[]],
    end: '<|eot_id|>',
    corpus,
    // An answer's first word is the one that captions and questions have inside, with the same embedding.
    prefixSpace: true,
    // A cell of an answer is one token. As a letter and a digit, the digit was learned as one of those that go with the letter, whichever shape was asked for.
    mixedWords: true,
  });
}
