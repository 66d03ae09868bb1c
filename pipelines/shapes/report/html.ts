// The report: one file without anything from elsewhere. Curves, tables, what it shows, pictures with answers right and wrong, where the answers came from.
import sharp from 'sharp';
import { drawScene } from '../scene/draw.ts';
import { answers } from '../scene/questions.ts';
import { questionsPerPicture } from '../train/presets.ts';
import type { TrainedComparison, VariantResult } from '../train/compare-trained.ts';
import { escapeMarkup } from '../../plot/svg.ts';
import { trainedSvg } from './plot-trained.ts';
import { columns, summaryOf } from './summary.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Pictures that are shown. */
const pictures = 4;

export async function trainedHtml(comparison: TrainedComparison, command: string): Promise<string> {
  const rows = summaryOf(comparison);
  const { preset, tokens } = comparison.options;
  const cell = (text: string, head = false) =>
    head ? `<th>${escapeMarkup(text)}</th>` : `<td>${escapeMarkup(text)}</td>`;
  const table = (head: readonly string[], body: readonly (readonly string[])[]) =>
    `<table><tr>${head.map((text) => cell(text, true)).join('')}</tr>${body.map((line) => `<tr>${line.map((text) => cell(text)).join('')}</tr>`).join('')}</table>`;
  const figures = table(
    ['variant', 'seeds', ...columns, 'shuffled'],
    rows.map((row) => [
      row.name,
      String(row.seeds),
      ...columns.map((column) => {
        const { mean, low, high } = row.accuracy[column];
        return Number.isFinite(mean) ? `${mean.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]` : '–';
      }),
      row.shuffled.toFixed(3),
    ]),
  );
  const costs = table(
    ['variant', 'tokens', 'parameters', 'FLOP a picture', 'steps', 'seconds'],
    rows.map((row) => [
      row.name,
      String(row.tokens),
      String(row.parameters),
      row.flops.toExponential(2),
      row.steps.join(', '),
      row.seconds.toFixed(0),
    ]),
  );
  const shares = table(
    ['variant', ...columns.slice(1).map((slice) => `${slice}: coarse / fine`)],
    rows
      .filter((row) => Object.keys(row.shares).length > 0)
      .map((row) => [
        row.name,
        ...columns
          .slice(1)
          .map((slice) => (row.shares[slice] ?? []).map((share) => `${Math.round(100 * share)} %`).join(' / ')),
      ]),
  );
  const told = [
    ...rows.flatMap((row) => row.verdicts),
    ...comparison.failed.map(({ name, reason }) => `${name} was not trained: ${reason}`),
  ];
  const samples = await Promise.all(
    comparison.results
      .filter(({ variant }) => !variant.control || variant.name === 'resampler')
      .map((result) => samplesOf(result, comparison)),
  );
  return [
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Connectors compared by training</title>',
    '<style>body{font:15px/1.45 sans-serif;max-width:1260px;margin:2em auto;padding:0 1em;color:#222}table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:3px 8px;text-align:right;white-space:nowrap}td:first-child,th:first-child{text-align:left}.scroll{overflow-x:auto}.right{color:#1a7f37}.wrong{color:#b3261e}.pictures{display:flex;flex-wrap:wrap;gap:18px}.pictures>div{width:280px}img{image-rendering:pixelated}li{margin:.1em 0}</style>',
    `<h1>Connectors compared by training: shapes ${preset}, about ${tokens} visual tokens</h1><p><code>${escapeMarkup(command)}</code></p>`,
    `<p>${plural(comparison.task.train.scenes.length, 'picture')} to learn from, ${comparison.task.held.scenes.length} held out, ${plural(questionsPerPicture, 'question')} each. Intervals are of 95 %, over seeds and pictures. <b>blind</b> sees no visual tokens, <b>oracle</b> is given the labels, <b>shuffled</b> is the accuracy with another picture's maps.</p>`,
    trainedSvg(comparison),
    `<h2>Accuracy</h2><div class="scroll">${figures}</div><h2>Cost</h2><div class="scroll">${costs}</div>`,
    `<h2>What moves the answers</h2><p>Share of each encoder in Σ |gradient of the answer · feature|.</p><div class="scroll">${shares}</div>`,
    `<h2>What it shows</h2><ul>${told.map((line) => `<li>${escapeMarkup(line)}</li>`).join('')}</ul>`,
    comparison.complete ? '' : '<p><b>Interrupted: some runs are missing.</b></p>',
    `<h2>Pictures</h2><p>Each picture under where the first answer came from: brighter cells moved it more, by encoder.</p>${samples.join('')}</html>`,
  ].join('\n');
}

async function samplesOf({ variant, runs }: VariantResult, { task }: TrainedComparison): Promise<string> {
  const [run] = runs;
  if (run === undefined) return '';
  const shown = await Promise.all(
    task.held.scenes.slice(0, pictures).map(async (scene, i) => {
      const { rgb, width, height } = drawScene(scene);
      const png = await sharp(rgb, { raw: { width, height, channels: 3 } })
        .png()
        .toBuffer();
      const source = `data:image/png;base64,${png.toString('base64')}`;
      const looks = run.judged.looks[i * questionsPerPicture] ?? [];
      const list = (task.held.questions[i] ?? []).map((question, q) => {
        const given = answers[run.judged.answers[i * questionsPerPicture + q] ?? -1] ?? '–';
        const isRight = given === question.answer;
        return `<li>${escapeMarkup(question.text)} <span class="${isRight ? 'right' : 'wrong'}">${escapeMarkup(given)}</span>${isRight ? '' : ` (${escapeMarkup(question.answer)})`}</li>`;
      });
      return `<div><svg width="280" height="140" viewBox="0 0 280 140">${looks
        .slice(0, 2)
        .map((look, k) => lookSvg(source, look, k))
        .join(
          '',
        )}${looks.length === 0 ? `<image href="${source}" width="135" height="135"/>` : ''}</svg><ul>${list.join('')}</ul></div>`;
    }),
  );
  return `<h3>${escapeMarkup(variant.name)}</h3><div class="pictures">${shown.join('')}</div>`;
}

function lookSvg(picture: string, look: readonly number[], k: number): string {
  const side = Math.round(Math.sqrt(look.length));
  const most = Math.max(1e-12, ...look);
  const [left, size] = [k * 142, 135];
  const cells = look.map((value, i) => {
    const dark = 0.85 * (1 - value / most);
    const [x, y] = [left + ((i % side) * size) / side, (Math.floor(i / side) * size) / side];
    return `<rect x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${(size / side).toFixed(2)}" height="${(size / side).toFixed(2)}" fill="#000" fill-opacity="${dark.toFixed(2)}"/>`;
  });
  return `<image href="${picture}" x="${left}" width="${size}" height="${size}" style="image-rendering:pixelated"/>${cells.join('')}`;
}
