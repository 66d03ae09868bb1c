// Questions about a scene, in the manner of CV-Bench (Cambrian-1, section 3.1.2): labels come from the scene, not from the pixels.
import { pick, randomStream, shuffled, type Random } from './random.ts';
import {
  cellName,
  cellOf,
  cellsAcross,
  colors,
  glyphs,
  kinds,
  scenePresets,
  unit,
  words,
  type Color,
  type Scene,
  type SceneObject,
  type ScenePreset,
  type ShapeKind,
} from './scene.ts';

/** What tables have a column for. `where`: which cell; `color`: of the shape in a cell; `side`: left or right, above or below. */
export const slices = ['where', 'color', 'side', 'count', 'nearer', 'sign'] as const;
export type Slice = (typeof slices)[number];

export interface Named {
  readonly color: Color;
  readonly kind: ShapeKind;
}

export interface Question {
  readonly slice: Slice;
  readonly text: string;
  readonly answer: string;
  /** What it is about, for decoders without words: objects by color and kind, a cell, the axis of `side`. */
  readonly first?: Partial<Named> | undefined;
  readonly second?: Named | undefined;
  readonly cell?: readonly [row: number, column: number] | undefined;
  readonly axis?: 'x' | 'y' | undefined;
}

/** What a question can be answered with; a class each, for decoders without words. */
export const answers: readonly string[] = [
  ...Array.from({ length: cellsAcross ** 2 }, (_, i) => cellName([Math.floor(i / cellsAcross), i % cellsAcross])),
  ...colors,
  'none',
  'left',
  'right',
  'above',
  'below',
  ...Array.from({ length: kinds.length + 1 }, (_, i) => String(i)),
  ...glyphs,
  ...words,
];

export interface AskOptions {
  /** Which kinds; default all. */
  readonly among?: readonly Slice[] | undefined;
  /** Other questions about the same scene for each round, from 0. */
  readonly round?: number | undefined;
}

/** One of each slice, then others, until there are `count`; no two have the same text. */
export function questionsOf(
  scene: Scene,
  count: number,
  { among = slices, round = 0 }: AskOptions = {},
): readonly Question[] {
  const random = randomStream(`questions ${scene.preset}${round === 0 ? '' : ` ${round}`}`, scene.seed);
  const preset = scenePresets[scene.preset];
  const asked = new Map<string, Question>();
  const rest = () => pick(random, among);
  for (const slice of shuffled(random, among)) add(asked, ask(slice, scene, preset, random));
  for (let i = 0; asked.size < count && i < 50 * count; i++) add(asked, ask(rest(), scene, preset, random));
  return shuffled(random, [...asked.values()].slice(0, count));
}

function add(asked: Map<string, Question>, question: Question | undefined): void {
  if (question !== undefined) asked.set(question.text, question);
}

/** A question of one slice, or undefined where the scene has none that is beyond doubt. */
export function ask(slice: Slice, scene: Scene, preset: ScenePreset, random: Random): Question | undefined {
  switch (slice) {
    case 'where': {
      const object = pick(random, scene.objects);
      return {
        slice,
        text: `Which cell is the ${nameOf(object)} in?`,
        answer: cellName(cellOf(object, preset)),
        first: named(object),
      };
    }
    case 'color':
      return askColor(scene, preset, random);
    case 'side':
      return askSide(scene, preset, random);
    case 'count': {
      const color = pick(random, preset.colors);
      const found = scene.objects.filter((object) => object.color === color).length;
      return { slice, text: `How many ${color} shapes are there?`, answer: String(found), first: { color } };
    }
    case 'nearer': {
      const [a, b] = pairOf(
        scene,
        random,
        (one, other) => one.color !== other.color && Math.abs(one.radius - other.radius) * 5 >= preset.radius[0],
      );
      if (a === undefined || b === undefined) return undefined;
      const nearer = a.radius > b.radius ? a : b;
      return {
        slice,
        text: `Which is nearer, the ${nameOf(a)} or the ${nameOf(b)}?`,
        answer: nearer.color,
        first: named(a),
        second: named(b),
      };
    }
    case 'sign': {
      const object = pick(random, scene.objects);
      const what = preset.name === 'L' ? 'word' : 'sign';
      return {
        slice,
        text: `What ${what} is on the ${nameOf(object)}?`,
        answer: object.sign,
        first: named(object),
      };
    }
    default:
      return slice satisfies never;
  }
}

/** Of a cell with a shape in it three times out of four. */
function askColor(scene: Scene, preset: ScenePreset, random: Random): Question {
  const full = scene.objects.map((object) => cellOf(object, preset));
  const cell =
    random.below(4) > 0 ? pick(random, full) : ([random.below(cellsAcross), random.below(cellsAcross)] as const);
  const there = scene.objects.find((object) => cellName(cellOf(object, preset)) === cellName(cell));
  const [row = '', column = ''] = cellName(cell);
  return {
    slice: 'color',
    text: `What color is the shape in row ${row}, column ${column}?`,
    answer: there?.color ?? 'none',
    cell,
  };
}

/** Along an axis on which the two are an eighth of the picture apart. */
function askSide(scene: Scene, preset: ScenePreset, random: Random): Question | undefined {
  const axis = pick(random, ['x', 'y'] as const);
  const [a, b] = pairOf(scene, random, (one, other) => Math.abs(one[axis] - other[axis]) * 8 >= preset.side * unit);
  if (a === undefined || b === undefined) return undefined;
  const [less, more] = axis === 'x' ? (['left', 'right'] as const) : (['above', 'below'] as const);
  const text =
    axis === 'x'
      ? `Is the ${nameOf(a)} left or right of the ${nameOf(b)}?`
      : `Is the ${nameOf(a)} above or below the ${nameOf(b)}?`;
  return { slice: 'side', text, answer: a[axis] < b[axis] ? less : more, axis, first: named(a), second: named(b) };
}

/** Two objects in a random order, if any two are as wanted. */
function pairOf(
  { objects }: Scene,
  random: Random,
  wanted: (a: SceneObject, b: SceneObject) => boolean,
): readonly [SceneObject, SceneObject] | readonly [] {
  const pairs = objects.flatMap((a) => objects.filter((b) => a !== b && wanted(a, b)).map((b) => [a, b] as const));
  return pairs.length === 0 ? [] : pick(random, pairs);
}

/** `red disc`. */
export function nameOf({ color, kind }: Named): string {
  return `${color} ${kind}`;
}

function named({ color, kind }: SceneObject): Named {
  return { color, kind };
}
