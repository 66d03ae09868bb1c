// Held-out scenes as benchmarks: CV-Bench in miniature as the hub has it (Parquet) and as VLMEvalKit (TSV), and the plain questions in
// the format of LLaVA. `npx node examples/shapes/benchmarks.ts FOLDER SCENES`, then
// `npx opabinia eval DIR --bench cv-bench:FOLDER/cv-bench --bench llava:FOLDER/questions.jsonl`
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { nameOf, questionsOf } from '../../pipelines/shapes/scene/questions.ts';
import { randomStream, shuffled, type Random } from '../../pipelines/shapes/scene/random.ts';
import { makeScene, scenePresets, type Scene, type SceneObject } from '../../pipelines/shapes/scene/scene.ts';
import { preset } from './model-config.ts';
import { learnedSlices, writeScene } from './samples.ts';

/** A row of nyu-visionx/CV-Bench, of the columns that evaluations read. */
export interface CvBenchRow {
  readonly idx: number;
  readonly type: '2D' | '3D';
  readonly task: 'Relation' | 'Count' | 'Depth' | 'Distance';
  readonly image: string;
  readonly question: string;
  readonly choices: readonly string[];
  /** `(B)`. */
  readonly answer: string;
  readonly prompt: string;
  readonly filename: string;
  readonly source: 'ADE20K' | 'COCO' | 'Omni3D';
}

const perScene = 8;
const choicesOfCount = 4;

/** Rows about scenes from 0 on, whose pictures are `img/S-0.png`, …; those of even scenes are given out as ADE20K's, of odd ones as COCO's. */
export function cvBenchRows(scenes: number): readonly CvBenchRow[] {
  const rows: CvBenchRow[] = [];
  for (let i = 0; i < scenes; i++) {
    const scene = makeScene(scenePresets[preset], i);
    const random = randomStream('cv-bench', i);
    for (const { task, question, choices, answer } of tasksOf(scene, random)) {
      const flat = task === 'Relation' || task === 'Count';
      const letter = String.fromCharCode(65 + choices.indexOf(answer));
      rows.push({
        idx: rows.length,
        type: flat ? '2D' : '3D',
        task,
        image: `img/${preset}-${scene.seed}.png`,
        question,
        choices,
        answer: `(${letter})`,
        prompt: `${question} Select from the following choices.${choices.map((choice, c) => `\n(${String.fromCharCode(65 + c)}) ${choice}`).join('')}`,
        filename: `${preset}-${scene.seed}.png`,
        source: flat ? (i % 2 === 0 ? 'ADE20K' : 'COCO') : 'Omni3D',
      });
    }
  }
  return rows;
}

interface Task {
  readonly task: CvBenchRow['task'];
  readonly question: string;
  readonly choices: readonly string[];
  readonly answer: string;
}

function tasksOf(scene: Scene, random: Random): readonly Task[] {
  const asked = questionsOf(scene, perScene).flatMap((question): readonly Task[] => {
    const { slice, text, answer } = question;
    if (slice === 'side') {
      const choices = question.axis === 'x' ? ['left', 'right'] : ['above', 'below'];
      return [{ task: 'Relation', question: text, choices, answer }];
    }
    if (slice === 'count') {
      const first = Math.max(0, Number(answer) - random.below(choicesOfCount));
      const choices = Array.from({ length: choicesOfCount }, (_, i) => String(first + i));
      return [{ task: 'Count', question: text, choices, answer }];
    }
    if (slice === 'nearer' && question.second !== undefined && question.first?.color !== undefined)
      return [{ task: 'Depth', question: text, choices: [question.first.color, question.second.color], answer }];
    return [];
  });
  const [about, a, b] = shuffled(random, scene.objects);
  return about === undefined || a === undefined || b === undefined || a.color === b.color
    ? asked
    : [...asked, ...distance(about, a, b)];
}

/** Which of two is nearer to a third, where that is beyond doubt. */
function distance(about: SceneObject, a: SceneObject, b: SceneObject): readonly Task[] {
  const [near, far] = [a, b].map((one) => Math.hypot(one.x - about.x, one.y - about.y));
  if (near === undefined || far === undefined || Math.max(near, far) < 1.3 * Math.min(near, far)) return [];
  return [
    {
      task: 'Distance',
      question: `Which is nearer to the ${nameOf(about)}, the ${nameOf(a)} or the ${nameOf(b)}?`,
      choices: [a.color, b.color],
      answer: near < far ? a.color : b.color,
    },
  ];
}

/** Writes `cv-bench/` (two Parquet files, and the pictures once more as files), `vlmevalkit/` (two TSV files) and `questions.jsonl`. */
export async function writeBenchmarks(folder: string, scenes: number): Promise<void> {
  const [own, kit] = [join(folder, 'cv-bench'), join(folder, 'vlmevalkit')];
  for (const place of [join(own, 'img'), kit]) mkdirSync(place, { recursive: true });
  for (let i = 0; i < scenes; i++)
    await writeScene(join(own, 'img', `${preset}-${i}.png`), makeScene(scenePresets[preset], i));
  const rows = cvBenchRows(scenes);
  for (const type of ['2D', '3D'] as const) {
    const of = rows.filter((row) => row.type === type);
    writeHubParquet(join(own, `test_${type.toLowerCase()}.parquet`), of, own);
    writeFileSync(join(kit, `CV-Bench-${type}.tsv`), tsv(of, own));
  }
  const questions = Array.from({ length: scenes }, (_, i) => makeScene(scenePresets[preset], i)).flatMap((scene) =>
    questionsOf(scene, perScene, { among: learnedSlices }).map(({ slice, text, answer }) => ({
      image: `cv-bench/img/${preset}-${scene.seed}.png`,
      text,
      label: answer,
      category: slice,
    })),
  );
  writeFileSync(
    join(folder, 'questions.jsonl'),
    questions.map((question, i) => `${JSON.stringify({ question_id: i, ...question })}\n`).join(''),
  );
}

const text = { type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' } as const;
const texts = ['task', 'question', 'answer', 'prompt', 'filename', 'source', 'type'] as const;

/** As the hub has them: the picture a record of bytes and path, beside lists and texts. */
function writeHubParquet(path: string, rows: readonly CvBenchRow[], folder: string): void {
  const bytes = parquetWriteBuffer({
    columnData: [
      { name: 'idx', data: rows.map(({ idx }) => idx) },
      ...texts.map((name) => ({ name, data: rows.map((row) => row[name]) })),
      { name: 'choices', data: rows.map(({ choices }) => [...choices]) },
      {
        name: 'image',
        data: rows.map(({ image }) => ({
          bytes: new Uint8Array(readFileSync(join(folder, image))),
          path: basename(image),
        })),
      },
    ],
    schema: [
      { name: 'root', num_children: 3 + texts.length },
      { name: 'idx', type: 'INT32', repetition_type: 'OPTIONAL' },
      ...texts.map((name) => ({ name, ...text })),
      { name: 'choices', num_children: 1, converted_type: 'LIST', repetition_type: 'OPTIONAL' },
      { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
      { name: 'element', ...text },
      { name: 'image', num_children: 2, repetition_type: 'OPTIONAL' },
      { name: 'bytes', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
      { name: 'path', ...text },
    ],
  });
  writeFileSync(path, Buffer.from(bytes));
}

/** As VLMEvalKit's files are: pictures in base64, options in columns, letters without parentheses. */
function tsv(rows: readonly CvBenchRow[], folder: string): string {
  const letters = ['A', 'B', 'C', 'D'];
  const quoted = (text: string): string => (/[\t\n"]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = rows.map((row) => [
    String(row.idx),
    row.type,
    row.source,
    row.task,
    row.question,
    row.prompt,
    ...letters.map((_, i) => row.choices[i] ?? ''),
    row.answer.charAt(1),
    readFileSync(join(folder, row.image)).toString('base64'),
  ]);
  const header = ['index', 'split', 'source', 'category', 'question', 'prompt', ...letters, 'answer', 'image'];
  return [header, ...lines].map((line) => `${line.map(quoted).join('\t')}\n`).join('');
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder = 'out/shapes-benchmarks', scenes = '50'] = process.argv.slice(2);
  await writeBenchmarks(folder, Number(scenes));
  console.log(`${folder}: benchmarks about ${scenes} scenes`);
}
