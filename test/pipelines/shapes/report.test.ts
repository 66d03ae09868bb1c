// Reports of a comparison by training, from made-up answers: every form of them says what the answers say.
import { describe, expect, test } from 'vitest';
import { trainedHtml } from '../../../pipelines/shapes/report/html.ts';
import { trainedSvg } from '../../../pipelines/shapes/report/plot-trained.ts';
import { printTrained, trainedCsv, trainedJson } from '../../../pipelines/shapes/report/print-trained.ts';
import { columns, summaryOf } from '../../../pipelines/shapes/report/summary.ts';
import { encoderPair } from '../../../pipelines/shapes/encoders/pair.ts';
import type { TrainedComparison, VariantResult } from '../../../pipelines/shapes/train/compare-trained.ts';
import { questionsPerPicture } from '../../../pipelines/shapes/train/presets.ts';
import { answerClass } from '../../../pipelines/shapes/train/question-codes.ts';
import { openSplit } from '../../../pipelines/shapes/train/task.ts';
import type { Slice } from '../../../pipelines/shapes/scene/questions.ts';

const held = openSplit('S', 0, { count: 40, maps: [] });
const task = { preset: 'S' as const, encoders: encoderPair('S').map(({ map }) => map), train: held, held };

/** A variant that answers right where `knows` says so. */
function result(
  name: string,
  control: boolean,
  seeds: number,
  knows: (slice: Slice, picture: number) => boolean,
): VariantResult {
  const classes = held.questions.flatMap((questions, picture) =>
    Array.from({ length: questionsPerPicture }, (_, q) => {
      const question = questions[q];
      if (question === undefined) return { label: -1, isRight: false };
      return { label: answerClass(question), isRight: knows(question.slice, picture) };
    }),
  );
  const right = classes.map(({ isRight }) => (isRight ? 1 : 0));
  const judged = {
    answers: classes.map(({ label, isRight }) => (label < 0 ? -1 : isRight ? label : (label + 1) % 40)),
    right,
    shuffled: right.map((): 0 => 0),
    shares: name === 'blind' ? {} : { where: [0.75, 0.25] },
    flops: 1e6,
    looks: [],
  };
  const variant = { name, used: undefined, config: {}, tokens: 16, reads: 'both' as const, control };
  const curve = Array.from({ length: 5 }, (_, i) => ({ step: 10 * (i + 1), loss: 3 / (i + 1) }));
  return {
    variant,
    parameters: 1234,
    runs: Array.from({ length: seeds }, (_, i) => ({ seed: i + 1, steps: 50, seconds: 2, curve, judged })),
  };
}

function comparison(seeds: number): TrainedComparison {
  return {
    options: { preset: 'S', tokens: 16, seeds },
    task,
    results: [
      result('blind', true, seeds, (slice) => slice === 'count'),
      result('resampler', true, seeds, (slice) => slice === 'count' || slice === 'sign'),
      result('<mine>', false, seeds, (slice, picture) => slice !== 'nearer' && (slice !== 'sign' || picture % 2 === 0)),
      result('lost', false, seeds, (slice) => slice === 'count'),
    ],
    failed: [{ name: 'broken', reason: 'it threw while it was traced: no, at mine.ts:7' }],
    complete: true,
  };
}

describe('a summary', () => {
  const rows = summaryOf(comparison(2));
  test('has the shares of right answers', () => {
    const mine = rows.find(({ name }) => name === '<mine>');
    expect(mine?.accuracy.where.mean).toBe(1);
    expect(mine?.accuracy.nearer.mean).toBe(0);
    expect(mine?.against['resampler']?.color).toEqual({ mean: 1, low: 1, high: 1 });
    expect(mine?.against['resampler']?.sign.high).toBeLessThan(0);
    expect(mine?.against['resampler']?.count).toEqual({ mean: 0, low: 0, high: 0 });
  });

  test('says in words what is better, worse, the same, and nothing at all', () => {
    const text = rows.flatMap(({ verdicts }) => verdicts).join('\n');
    expect(text).toContain('<mine> against resampler, where: better by +1.000');
    expect(text).toMatch(/<mine> against resampler, sign: worse by −0\.\d+/);
    expect(text).toMatch(/<mine> against resampler, count, nearer: no difference shown/);
    expect(text).toContain('lost does not pass the blind baseline');
    expect(text).not.toContain('<mine> does not pass');
  });
});

test('text, CSV and JSON have every variant and every column, and what failed', () => {
  const text = printTrained(comparison(1));
  for (const word of [...columns, 'blind', 'resampler', '<mine>', 'broken was not trained', 'mine.ts:7', 'One seed'])
    expect(text).toContain(word);
  const [head, ...lines] = trainedCsv(comparison(2)).split('\n');
  expect(lines).toHaveLength(4);
  for (const line of lines) expect(line.split(',')).toHaveLength(head?.split(',').length ?? 0);
  expect(JSON.parse(JSON.stringify(trainedJson(comparison(1))))).toMatchObject({
    complete: true,
    variants: [{ name: 'blind' }, {}, { name: '<mine>' }, {}],
  });
});

test('the drawing and the page escape names, and the page has pictures, answers right and wrong, and nothing from elsewhere', async () => {
  const svg = trainedSvg(comparison(2));
  expect(svg).toContain('&lt;mine&gt;');
  expect(svg).not.toContain('NaN');
  const page = await trainedHtml(comparison(2), 'opabinia compare --train shapes ./mine.ts');
  for (const word of [
    '&lt;mine&gt;',
    'data:image/png;base64,',
    'class="right"',
    'class="wrong"',
    'mine.ts:7',
    './mine.ts',
  ])
    expect(page).toContain(word);
  expect(page).not.toContain('<mine>');
  expect(page.match(/(?:src|href)="(?!data:)[^"]*"/g)).toBeNull();
  expect(page).not.toMatch(/<script/);
});
