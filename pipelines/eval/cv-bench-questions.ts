// CV-Bench as it is on the hub (Tong et al. 2024, section 3.1.2), with the three scores that go by its name.
import type { Answered, Benchmark, Gold, Score } from './benchmark.ts';
import { groupBy, meanChance, meanScore } from './grade.ts';
import { combineSources, lmmsEvalLetter, vlmEvalKitLetter } from './matching/cv-bench.ts';
import { gradeDeep, gradeFlat } from './private-cv-bench.ts';
import { neededText, optionsOf, picturesOf, textOf } from './read/row.ts';

export interface CvBenchPrompt {
  readonly name: string;
  readonly title: string;
  /** Around the data set's own prompt. */
  readonly prompt: (text: string, options: readonly string[]) => string;
  readonly maxNewTokens: number;
}

export function cvBench({ name, title, prompt, maxNewTokens }: CvBenchPrompt): Benchmark {
  return {
    name,
    title,
    source: 'nyu-visionx/CV-Bench, test (2D and 3D), or CV-Bench-2D.tsv and CV-Bench-3D.tsv of VLMEvalKit',
    files: ['test', 'CV-Bench'],
    columns: [['prompt'], ['choices', 'A'], ['answer'], ['image'], ['source'], ['task', 'category', 'type', 'split']],
    group: 'Vision-Centric',
    form: 'letter',
    maxNewTokens,
    item: (row) => {
      const options = optionsOf(row, 'choices');
      const answer = neededText(row, 'answer');
      const source = neededText(row, 'source');
      return {
        prompt: prompt(neededText(row, 'prompt'), options),
        pictures: picturesOf(row, 'image'),
        gold: { answer: answer.startsWith('(') ? answer : `(${answer})`, options, source },
        slices: { task: textOf(row, 'task', 'category'), source, type: textOf(row, 'type', 'split') },
        chance: 1 / options.length,
        options: options.length,
        id: textOf(row, 'idx', 'index'),
      };
    },
    grade: (answer, gold) => (gold['source'] === 'Omni3D' ? gradeDeep : gradeFlat)?.(answer, gold),
    scores: cvBenchScores,
  };
}

const sources = ['ADE20K', 'COCO', 'Omni3D'] as const;

/**
 * The paper's mean of means of sources, the plain mean that lmms-eval prints as `cv_bench_acc`, VLMEvalKit's two (2D over its sources, 3D
 * plain): each with its own way of reading the letter. What a source has no answer of is left out, and so are means that need it.
 */
export function cvBenchScores(answers: readonly Answered[]): readonly Score[] {
  const bySource = groupBy(answers, ({ item }) => String(item.gold['source']));
  const [ade, coco, omni] = sources.map((source) => bySource.get(source));
  const lmms = readBy(lmmsEvalLetter);
  const vlm = readBy((answer, { options }) => vlmEvalKitLetter(answer, Array.isArray(options) ? options : []));
  const chance = meanChance(answers);
  const scores: Score[] = [];
  if (ade !== undefined && coco !== undefined) {
    const flat = (meanScore(ade) + meanScore(coco)) / 2;
    if (omni !== undefined)
      scores.push({
        name: 'paper',
        value: combineSources(meanScore(ade), meanScore(coco), meanScore(omni)).overall,
        unit: 'share',
        chance: combineSources(meanChance(ade), meanChance(coco), meanChance(omni)).overall,
      });
    scores.push({ name: 'paper 2D', value: flat, unit: 'share', chance: (meanChance(ade) + meanChance(coco)) / 2 });
  }
  if (omni !== undefined)
    scores.push({
      name: 'paper 3D',
      value: meanScore(omni),
      unit: 'share',
      of: omni.length,
      chance: meanChance(omni),
    });
  scores.push({
    name: 'lmms-eval (cv_bench_acc)',
    value: share(answers, lmms),
    unit: 'share',
    of: answers.length,
    chance,
  });
  const flatSources = [...bySource].filter(([source]) => source !== 'Omni3D').map(([, own]) => own);
  if (flatSources.length > 0)
    scores.push({
      name: 'VLMEvalKit 2D',
      value: flatSources.reduce((sum, own) => sum + share(own, vlm), 0) / flatSources.length,
      unit: 'share',
      chance: flatSources.reduce((sum, own) => sum + meanChance(own), 0) / flatSources.length,
    });
  if (omni !== undefined)
    scores.push({
      name: 'VLMEvalKit 3D',
      value: share(omni, vlm),
      unit: 'share',
      of: omni.length,
      chance: meanChance(omni),
    });
  return scores;
}

type IsRight = (answered: Answered) => boolean;

function readBy(letter: (answer: string, gold: Gold) => string): IsRight {
  return ({ answer, item, grade }) =>
    grade !== undefined && letter(answer, item.gold) === String(item.gold['answer']).replace(/^[()]+|[()]+$/g, '');
}

function share(answers: readonly Answered[], isRight: IsRight): number {
  return answers.filter(isRight).length / answers.length;
}
