// Every benchmark by a few rows with the columns of its original: the prompt that is asked, answers that are right and wrong, figures.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Answered, Benchmark } from '../../../pipelines/eval/benchmark.ts';
import { allBenchmarks } from '../../../pipelines/eval/benchmarks.ts';
import { accuracyScore } from '../../../pipelines/eval/grade.ts';
import { readQuestions } from '../../../pipelines/eval/read/questions.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-benchmarks-'));
afterAll(() => rmSync(folder, { recursive: true }));
const all = await allBenchmarks();

interface Case {
  readonly row: Readonly<Record<string, unknown>>;
  /** The prompt, or its end. */
  readonly prompt: string;
  readonly right: readonly string[];
  readonly wrong: readonly string[];
  readonly chance: number;
  readonly slices?: Readonly<Record<string, string>>;
}

const image = 'x.png';
const phrase = '\nAnswer the question using a single word or phrase.';
const option = "\nAnswer with the option's letter from the given choices directly.";
const letterOnly = '\nPlease answer directly with only the letter of the correct option and nothing else.';
const short = '\nGive the short answer directly.';
const hub = {
  idx: 1,
  image,
  choices: ['left', 'right'],
  answer: '(B)',
  prompt: 'Where?',
  task: 'Relation',
  type: '2D',
  source: 'COCO',
};
const own = { image, prompt: 'Where?', answer: '(B)', sub_task: 'Count', choices: ['b', 'b'] };

const cases: Readonly<Record<string, Case>> = {
  gqa: {
    row: { question: 'Is it red?', answer: 'Yes', image, types: { structural: 'verify' } },
    prompt: `Is it red?${phrase}`,
    right: ['yes', 'YES..'],
    wrong: ['yes ', 'Yes, it is'],
    chance: 0,
    slices: { type: 'verify' },
  },
  vizwiz: {
    row: {
      question: 'What?',
      image,
      question_id: 'VizWiz_val_00000001',
      answers: Array.from({ length: 10 }, () => 'a cup'),
    },
    prompt: `What?\nWhen the provided information is insufficient, respond with 'Unanswerable'.${phrase}`,
    right: ['Cup', 'the cup.'],
    wrong: ['cups', ''],
    chance: 0,
    slices: { split: 'val' },
  },
  scienceqa: {
    row: { question: 'Which?', choices: ['a shark', 'a bear'], answer: 1, hint: 'Think.', grade: 'grade2', image },
    prompt: `Think. Which?\nA. a shark\nB. a bear${letterOnly}`,
    right: ['B', 'b. a bear', 'A bear!', 'The answer is B.'],
    wrong: ['(B)', 'A', 'bear'],
    chance: 0.5,
    slices: { grade: 'grade2' },
  },
  textvqa: {
    row: { question: 'What brand?', image, ocr_tokens: ['A', 'B'], answers: Array.from({ length: 10 }, () => 'sony') },
    prompt: `What brand?\nReference OCR tokens: A, B${phrase}`,
    right: ['Sony', 'the sony'],
    wrong: ['sony tv'],
    chance: 0,
  },
  pope: {
    row: { question: 'Is there a dog?', answer: 'no', image, category: 'popular', question_id: 3 },
    prompt: `Is there a dog?${phrase}`,
    right: ['No', 'no, there is none', 'No.'],
    wrong: ['(no)', 'yes', ''],
    chance: 0.5,
    slices: { category: 'popular' },
  },
  mme: {
    row: { question: 'Is it?', answer: 'Yes', category: 'count', image, question_id: 'a' },
    prompt: `Is it?${phrase}`,
    right: ['Yes.', 'yes'],
    wrong: ['Yes, it is', ' yes'],
    chance: 0.5,
    slices: { category: 'count' },
  },
  mmbench: {
    row: {
      index: 3,
      question: 'What?',
      hint: 'nan',
      A: 'cat',
      B: 'dog',
      C: 'nan',
      D: 'nan',
      answer: 'B',
      category: 'x',
      image,
    },
    prompt: `What? Options:\nA. cat\nB. dog${option}`,
    right: ['(B)', 'B: dog', 'blue'],
    wrong: ['dog', '', 'A'],
    chance: 0.5,
  },
  'mmbench-cn': {
    row: { index: 3, question: '什么?', hint: '看', A: '猫', B: '狗', answer: 'B', category: 'x', image },
    prompt: '看\n什么? Options:\nA. 猫\nB. 狗\n请直接回答选项字母。',
    right: ['B', 'b. 狗'],
    wrong: ['(B)', 'B狗', ''],
    chance: 0.5,
  },
  seed: {
    row: {
      question: 'How many?',
      choice_a: '1',
      choice_b: '2',
      choice_c: '3',
      choice_d: '4',
      answer: 'C',
      image,
      question_type_id: 5,
    },
    prompt: `How many? Options:\nA. 1\nB. 2\nC. 3\nD. 4${option}`,
    right: ['c', '(C) 3', 'cat'],
    wrong: ['3', ':c'],
    chance: 0.25,
    slices: { type: 'Instance Counting' },
  },
  mmmu: {
    row: {
      id: 'validation_Art_Theory_3',
      question: '<image 1> What?',
      options: "['red', 'blue']",
      answer: 'B',
      question_type: 'multiple-choice',
      image_1: image,
    },
    prompt: ` What? Options:\nA. red\nB. blue${option}`,
    right: ['B', '(b) blue'],
    wrong: ['A', ''],
    chance: 0.5,
    slices: { subject: 'Art_Theory', type: 'multiple-choice' },
  },
  mathvista: {
    row: {
      pid: '1',
      query: 'Hint: answer.\nQ?',
      question_type: 'free_form',
      answer: '1.2',
      decoded_image: image,
      choices: null,
      metadata: { category: 'math' },
    },
    prompt: `Hint: answer.\nQ?${phrase}`,
    // Within 5 % of the answer, not of the gold.
    right: ['1.2', '1.143', '1.26'],
    wrong: ['1.14', '1.27', 'The answer is 1.2'],
    chance: 0,
    slices: { category: 'math', type: 'free_form' },
  },
  ai2d: {
    row: { question: 'Which?', options: ['a', 'b', 'c', 'd'], answer: '2', image },
    prompt: `Which?\nA. a\nB. b\nC. c\nD. d${option}`,
    right: ['C', '(c)', '2'],
    wrong: ['B', ''],
    chance: 0.25,
  },
  chartqa: {
    row: { question: 'How much?', answer: '20', image, type: 'human_test' },
    prompt: 'How much?\nAnswer the question using a single number or phrase.',
    right: ['20', '21', '19.0'],
    wrong: ['21.01', '20%', 'twenty'],
    chance: 0,
    slices: { type: 'human_test' },
  },
  docvqa: {
    row: { questionId: '7', question: 'Who?', image, answers: ['Ann Lee'] },
    prompt: `Who?${short}`,
    right: ['ann lee'],
    wrong: ['bob'],
    chance: 0,
  },
  infovqa: {
    row: { questionId: '7', question: 'Who?', image, answers: ['Ann'] },
    prompt: `Who?${phrase}`,
    right: ['ANN'],
    wrong: ['bob'],
    chance: 0,
  },
  stvqa: {
    row: { question_id: 7, question: 'Who?', image, answers: ['Ann'] },
    prompt: `Who?${phrase}`,
    right: ['Ann'],
    wrong: ['bob'],
    chance: 0,
  },
  ocrbench: {
    row: { question: 'what?', answer: ['CENTRE'], question_type: 'Regular Text Recognition', image },
    prompt: `what?${short}`,
    right: ['The word is centre.', 'Cen\ntre centre'],
    wrong: ['cent re', ''],
    chance: 0,
  },
  mmstar: {
    row: { question: 'Which?\nOptions: A: x, B: y', answer: 'B', image, category: 'math' },
    prompt: `Which?\nOptions: A: x, B: y${letterOnly}`,
    right: ['B', 'b: y', 'B. y'],
    wrong: ['(B)', 'y', ''],
    chance: 0.25,
    slices: { category: 'math' },
  },
  realworldqa: {
    row: { question: 'Which way?\nA. left\nB. right\nPlease answer directly.', answer: 'B', image },
    prompt: 'Which way?\nA. left\nB. right\nPlease answer directly.',
    right: ['B', 'b right', 'The answer is B'],
    wrong: ['B: right', '', '(B)'],
    chance: 0.5,
    slices: { kind: 'options' },
  },
  synthdog: {
    row: { ground_truth: JSON.stringify({ gt_parse: { text_sequence: 'Red Fox' } }), image },
    prompt: 'avoid adding any additional context or information.',
    right: ['red fox '],
    wrong: ['red foxes'],
    chance: 0,
  },
  qbench: {
    row: { question: 'Sharp?', candidates: ['Yes', 'No'], correct_ans: 'No', img_path: image, type: 0 },
    prompt: `Sharp? Options:\nA. Yes\nB. No${letterOnly}`,
    right: ['B', 'b. No'],
    wrong: ['(B)', 'No'],
    chance: 0.5,
    slices: { type: 'Yes/No' },
  },
  blink: {
    row: {
      idx: 'v',
      prompt: 'How many?\n(A) 1\n(B) 2',
      answer: '(B)',
      choices: ['1', '2', '3'],
      image_1: image,
      sub_task: 'Counting',
    },
    prompt: `How many?\n(A) 1\n(B) 2${letterOnly}`,
    right: ['(B) 2', 'B', 'b. 2'],
    wrong: ['B, 2', 'The answer is B'],
    chance: 1 / 3,
    slices: { task: 'Counting' },
  },
  mmvp: {
    row: { Index: 1, Question: 'Open?', Options: '(a) Open (b) Closed', 'Correct Answer': '(b)', image },
    prompt: `Open? Options:\nA. Open\nB. Closed${option}`,
    right: ['(b)', 'Closed.', 'B'],
    wrong: ['b) closed', 'open'],
    chance: 0.5,
  },
  vstar: {
    row: {
      text: 'What color?\n(A) red\n(B) blue\n(C) green',
      image: 'x.png',
      label: 'C',
      category: 'direct_attributes',
      question_id: 4,
    },
    prompt: 'What color?\n(A) red\n(B) blue\n(C) green',
    right: ['C', 'cyan'],
    wrong: ['green', 'C,'.replace('C', 'A')],
    chance: 1 / 3,
    slices: { category: 'direct_attributes' },
  },
  ade: {
    row: own,
    prompt: `Where?${option}`,
    right: ['(B)', 'b.'],
    wrong: ['A', ',b'],
    chance: 0.5,
    slices: { task: 'Count' },
  },
  coco: { row: own, prompt: `Where?${option}`, right: ['B'], wrong: ['A'], chance: 0.5 },
  omni: {
    // The gold option's own text counts where it is one character.
    row: { ...own, answer: '(A)', choices: ['5', 'b'] },
    prompt: `Where?${option}`,
    right: ['a', '5', '(A):'],
    wrong: ['b', '6'],
    chance: 0.5,
  },
  'cv-bench': { row: hub, prompt: `Where?${option}`, right: ['(B)'], wrong: ['right', 'A'], chance: 0.5 },
  'cv-bench-lmms-eval': {
    row: hub,
    prompt: 'Note: You only need to respond with A, B without providing any additional information.\n\nWhere?',
    right: ['B'],
    wrong: ['A'],
    chance: 0.5,
  },
  'cv-bench-vlmevalkit': { row: { ...hub, answer: 'B' }, prompt: 'Where?', right: ['B'], wrong: ['A'], chance: 0.5 },
  llava: {
    row: { question_id: 1, text: 'What?', label: 'Red', image, category: 'color' },
    prompt: 'What?',
    right: ['red.', ' RED'],
    wrong: ['red ball'],
    chance: 0,
    slices: { category: 'color' },
  },
};

/** Questions of rows, read from a JSONL of their own. */
async function questions(benchmark: Benchmark, rows: readonly object[]) {
  const path = join(folder, `${benchmark.name}-${rows.length}.jsonl`);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return (await readQuestions(benchmark, path)).asked;
}

describe('one row of each', () => {
  test.each(Object.entries(cases))('%s', async (name, { row, prompt, right, wrong, chance, slices }) => {
    const benchmark = all.get(name);
    if (benchmark === undefined) throw new Error(`there is no ${name}`);
    const [asked] = await questions(benchmark, [row]);
    if (asked === undefined) throw new Error('the row is not asked');
    const { item } = asked;
    expect(item.prompt.endsWith(prompt)).toBe(true);
    if (name !== 'synthdog') expect(item.prompt).toBe(prompt);
    expect(item.pictures).toHaveLength(1);
    expect(item.chance).toBeCloseTo(chance, 12);
    expect(item.slices).toMatchObject(slices ?? {});
    for (const answer of right) expect([answer, benchmark.grade?.(answer, item.gold)?.score]).toEqual([answer, 1]);
    for (const answer of wrong) expect([answer, benchmark.grade?.(answer, item.gold)?.score]).toEqual([answer, 0]);
    // What is kept of a question is plain.
    expect(JSON.parse(JSON.stringify(item.gold))).toEqual(item.gold);
  });

  test('no benchmark is forgotten', () => {
    expect([...all.keys()].sort()).toEqual([...Object.keys(cases), 'mmvet'].sort());
  });
});

describe('what differs by row', () => {
  const graded = async (name: string, row: object, answer: string): Promise<number | undefined> => {
    const benchmark = all.get(name);
    if (benchmark === undefined) throw new Error(`there is no ${name}`);
    const [asked] = await questions(benchmark, [row]);
    return asked === undefined ? undefined : benchmark.grade?.(answer, asked.item.gold)?.score;
  };

  test('MMMU: open questions take the text behind the keyword, or a number near it', async () => {
    const row = { ...cases['mmmu']?.row, question_type: 'open', options: '[]', answer: '10' };
    expect(await graded('mmmu', row, 'The answer is 10.2.')).toBe(1);
    expect(await graded('mmmu', row, 'ten')).toBe(0);
  });

  test('MathVista: letters of options, the last of equal ones', async () => {
    const row = { ...cases['mathvista']?.row, question_type: 'multi_choice', choices: ['x', 'y', 'x'], answer: 'x' };
    expect(await graded('mathvista', row, 'C')).toBe(1);
    // The query's own letters have parentheses, and those are not taken away.
    expect(await graded('mathvista', row, '(C)')).toBe(0);
  });

  test('OCRBench: formulas keep their case and lose their spaces', async () => {
    const row = {
      ...cases['ocrbench']?.row,
      question_type: 'Handwritten Mathematical Expression Recognition',
      answer: ['x ^ 2 + Y'],
    };
    expect(await graded('ocrbench', row, 'It is x^2 +\nY')).toBe(1);
    expect(await graded('ocrbench', row, 'x^2+y')).toBe(0);
  });

  test('files without gold answers have submissions and no figures', async () => {
    expect(await graded('docvqa', { questionId: '7', question: 'Who?', image }, 'x')).toBeUndefined();
    expect(
      await graded('vizwiz', { question: 'Who?', image, question_id: 'VizWiz_test_1', answers: null }, 'x'),
    ).toBeUndefined();
    expect(await graded('llava', { question_id: 1, text: 'What?' }, 'x')).toBeUndefined();
  });
});

/** Answers to rows that are told apart by a column. */
async function answered(name: string, rows: readonly (readonly [object, answer: string])[], picture = 'p') {
  const benchmark = all.get(name);
  if (benchmark === undefined) throw new Error(`there is no ${name}`);
  const asked = await questions(
    benchmark,
    rows.map(([row]) => row),
  );
  const answers = asked.map(({ item, index }): Answered => {
    const answer = rows[index]?.[1] ?? '';
    return { item, index, answer, picture, grade: benchmark.grade?.(answer, item.gold) };
  });
  const figures = benchmark.scores?.(answers) ?? [accuracyScore(answers)];
  return {
    value: (figure: string): number | undefined => figures.find((score) => score.name === figure)?.value,
    chance: figures[0]?.chance,
    submission: benchmark.submission?.(answers, 'model'),
  };
}

describe('figures', () => {
  test('MME: 100 · (accuracy + accuracy+) of each subtask, Perception their sum', async () => {
    const pair = (category: string, first: string, second: string) => [
      [{ question: 'a', answer: 'Yes', category, image }, first] as const,
      [{ question: 'b', answer: 'No', category, image }, second] as const,
    ];
    const { value, chance } = await answered('mme', [
      ...pair('count', 'Yes', 'No'),
      ...pair('count', 'Yes', 'Yes'),
      ...pair('color', 'No', 'No'),
      ...pair('code_reasoning', 'yes.', 'no.'),
    ]);
    expect(value('count')).toBe(100 * (3 / 4 + 2 / 4));
    expect(value('color')).toBe(50);
    expect(value('Perception')).toBe(125 + 50);
    expect(value('Cognition')).toBe(200);
    expect(chance).toBe(150);
  });

  test('MMVP: pairs', async () => {
    const row = (gold: string) => ({ Index: 1, Question: 'Q', Options: '(a) x (b) y', 'Correct Answer': gold, image });
    const { value } = await answered('mmvp', [
      [row('(a)'), 'A'],
      [row('(b)'), 'B'],
      [row('(a)'), 'A'],
      [row('(b)'), 'A'],
      [row('(a)'), 'B'],
      [row('(b)'), 'B'],
    ]);
    expect(value('pairs')).toBeCloseTo(1 / 3, 12);
    expect(value('single questions')).toBeCloseTo(4 / 6, 12);
  });

  test('MMBench: right in all rotations', async () => {
    const row = (question: string, answer: string) => ({
      index: 1,
      question,
      A: 'x',
      B: 'y',
      answer,
      category: 'c',
      image,
      source: 's',
    });
    const { value, submission } = await answered('mmbench', [
      [row('one', 'A'), 'A'],
      [row('one', 'B'), 'B'],
      [row('two', 'A'), 'A'],
      [row('two', 'B'), 'A "so"'],
    ]);
    expect(value('circular accuracy')).toBe(0.5);
    expect(value('accuracy (each rotation)')).toBe(0.75);
    expect(submission?.content).toBe('index,prediction\n1,"A"\n1,"B"\n1,"A"\n1,"A ""so"""\n');
  });

  test('CV-Bench: three scores that differ on the same answers', async () => {
    const row = (source: string, answer: string) => ({
      ...hub,
      source,
      answer,
      type: source === 'Omni3D' ? '3D' : '2D',
    });
    const { value } = await answered('cv-bench', [
      [row('ADE20K', '(A)'), 'The answer is (A)'],
      [row('ADE20K', '(B)'), 'right'],
      [row('COCO', '(B)'), '(B)'],
      [row('Omni3D', '(A)'), 'A'],
      [row('Omni3D', '(B)'), 'It is right'],
    ]);
    // The paper: a; r, wrong; b; a; i, wrong.
    expect(value('paper 2D')).toBe((0.5 + 1) / 2);
    expect(value('paper 3D')).toBe(0.5);
    expect(value('paper')).toBe((0.75 + 0.5) / 2);
    // lmms-eval: T; R; B; A; I.
    expect(value('lmms-eval (cv_bench_acc)')).toBe(2 / 5);
    // VLMEvalKit: A; right; B; A; right.
    expect(value('VLMEvalKit 2D')).toBe(1);
    expect(value('VLMEvalKit 3D')).toBe(1);
  });

  test('SynthDoG: shares within so many edits', async () => {
    const row = { ground_truth: 'abcdef', image };
    const { value } = await answered('synthdog', [
      [row, 'abcdef'],
      [row, 'a'],
      [row, 'zzzzzzzz'],
    ]);
    expect([0, 5, 10].map((edits) => value(`within ${edits} edits`))).toEqual([1 / 3, 2 / 3, 1]);
  });

  test('submissions as the leaderboards take them', async () => {
    const documents = await answered('docvqa', [[{ questionId: '7', question: 'Q', image }, 'Ann']]);
    expect(JSON.parse(documents.submission?.content ?? '')).toEqual([{ questionId: 7, answer: 'Ann' }]);
    const scenes = await answered('stvqa', [[{ question_id: 9, question: 'Q', image }, 'Ann']]);
    expect(JSON.parse(scenes.submission?.content ?? '')).toEqual([{ question_id: 9, answer: 'Ann' }]);
    const vet = await answered('mmvet', [[{ question_id: 'v1_0', question: 'Q', image }, 'long']]);
    expect(JSON.parse(vet.submission?.content ?? '')).toEqual({ v1_0: 'long' });
    const blind = await answered('vizwiz', [[{ question_id: 'VizWiz_test_3', question: 'Q', image }, 'Cup']]);
    expect(JSON.parse(blind.submission?.content ?? '')).toEqual([{ image: 'VizWiz_test_3.jpg', answer: 'cup' }]);
    const lines = await answered('llava', [[{ question_id: 5, text: 'Q' }, 'A long answer']]);
    expect(JSON.parse(lines.submission?.content ?? '')).toMatchObject({
      question_id: 5,
      text: 'A long answer',
      model_id: 'model',
    });
  });
});
