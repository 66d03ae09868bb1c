// How to answer, as a sentence behind the question: short answers that nobody asked for teach a model to answer shortly always (Cambrian-1,
// §5.3, appendix on the answer machine).

/** Sentences of the released data, by what the answer is. */
export const responseFormats = {
  phrase: 'Answer the question using a single word or phrase.',
  number: 'Answer the question using a single number or phrase.',
  option: "Answer with the option's letter from the given choices directly.",
  short: 'Give the short answer directly.',
  letter: 'Answer with the letter.',
  unanswerable:
    "When the provided information is insufficient, respond with 'Unanswerable'. Answer the question using a single word or phrase.",
  noAnswer: 'When the provided information is insufficient, respond with <no answer>.',
  html: 'Directly provide the HTML code.',
  reasoning: 'First show your reasoning process and then give the final answer.',
} as const;

export type ResponseFormat = keyof typeof responseFormats;

/** The sentences that Cambrian-7M puts behind the questions of a source, by its name (Cambrian-1, appendix on the answer machine). */
export const formatsBySource: Readonly<Record<string, readonly ResponseFormat[]>> = {
  SketchyVQA: ['phrase'],
  OODVQA: ['phrase'],
  DVQA: ['phrase'],
  AI2D: ['phrase'],
  CLEVR: ['phrase'],
  TallyQA: ['phrase'],
  PathVQA: ['phrase'],
  HiTab: ['phrase'],
  WTQ: ['phrase'],
  WikiSQL: ['phrase'],
  RAVEN: ['phrase'],
  'Q-Instruct': ['phrase', 'option'],
  ScreenQA: ['phrase', 'noAnswer'],
  IconQA: ['phrase', 'letter'],
  ChartQA: ['number'],
  Visual7W: ['option'],
  DocVQA: ['short'],
  Design2Code: ['html'],
  MathInstruct: ['reasoning'],
  VizWiz: ['unanswerable'],
  'Inter-GPS': ['letter'],
  TQA: ['letter'],
};
