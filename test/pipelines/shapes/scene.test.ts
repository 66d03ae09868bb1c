// Scenes: the same everywhere, and every label true of the pixels as well as of the scene.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describedScene, readDescription } from '../../../pipelines/shapes/scene/describe.ts';
import { drawScene } from '../../../pipelines/shapes/scene/draw.ts';
import { answers, questionsOf } from '../../../pipelines/shapes/scene/questions.ts';
import {
  cellName,
  cellOf,
  makeScene,
  presetNames,
  scenePresets,
  unit,
  type Scene,
} from '../../../pipelines/shapes/scene/scene.ts';
import { dataHash } from '../../../pipelines/shapes/scene/card.ts';

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const names = fc.constantFrom(...presetNames);

describe('a scene', () => {
  test('follows from preset and seed, with objects that cannot be taken for one another', () => {
    fc.assert(
      fc.property(names, seeds, (name, seed) => {
        const preset = scenePresets[name];
        const scene = makeScene(preset, seed);
        expect(makeScene(preset, seed)).toEqual(scene);
        const { objects } = scene;
        expect(objects.length).toBeGreaterThanOrEqual(preset.objects[0]);
        expect(objects.length).toBeLessThanOrEqual(preset.objects[1]);
        expect(new Set(objects.map(({ color, kind }) => `${color} ${kind}`)).size).toBe(objects.length);
        expect(new Set(objects.map((object) => cellName(cellOf(object, preset)))).size).toBe(objects.length);
        expect(objects.map(({ radius }) => radius)).toEqual(
          objects.map(({ radius }) => radius).toSorted((a, b) => a - b),
        );
      }),
      { numRuns: 40 },
    );
  });

  test('is drawn with every center seen: nothing nearer covers it', () => {
    fc.assert(
      fc.property(names, seeds, (name, seed) => {
        const scene = makeScene(scenePresets[name], seed);
        const { owner, width, rgb } = drawScene(scene);
        expect(rgb.length).toBe(3 * width * width);
        scene.objects.forEach(({ x, y }, i) => {
          expect(owner[Math.floor(y / unit) * width + Math.floor(x / unit)]).toBe(i + 1);
        });
      }),
      { numRuns: 25 },
    );
  });

  // Whoever changes what is drawn changes the task, and what was compared on it.
  test.each(presetNames)('of preset %s has the pixels and questions that docs/shapes.md says', (name) => {
    const page = readFileSync(new URL('../../../docs/shapes.md', import.meta.url), 'utf8');
    expect(page).toContain(dataHash(name));
  });
});

describe('questions', () => {
  test('are different, of known answers, and true', () => {
    fc.assert(
      fc.property(names, seeds, (name, seed) => {
        const scene = makeScene(scenePresets[name], seed);
        const asked = questionsOf(scene, 8);
        expect(new Set(asked.map(({ text }) => text)).size).toBe(asked.length);
        expect(asked.length).toBeGreaterThanOrEqual(6);
        for (const question of asked) {
          expect(answers).toContain(question.answer);
          expect(question.answer).toBe(answerByText(question.text, scene));
        }
      }),
      { numRuns: 40 },
    );
  });
});

/** The answer found again from the words of the question alone: another way than that of the sources. */
function answerByText(text: string, scene: Scene): string {
  const preset = scenePresets[scene.preset];
  const found = [...text.matchAll(/the (\w+) (disc|square|triangle|diamond|cross)/g)].map(([, color, kind]) => {
    const object = scene.objects.find((one) => one.color === color && one.kind === kind);
    if (object === undefined) throw new Error(`${text} names what is not there`);
    return object;
  });
  const [a, b] = found;
  const size = preset.side * 4;
  const nameAt = (x: number, y: number) => `${'abcd'[Math.floor(y / size)] ?? ''}${'1234'[Math.floor(x / size)] ?? ''}`;
  if (text.startsWith('How many')) {
    const color = /How many (\w+)/.exec(text)?.[1];
    return String(scene.objects.filter((object) => object.color === color).length);
  }
  if (text.startsWith('What color')) {
    const cell = /row (\w), column (\d)/.exec(text)?.slice(1).join('');
    return scene.objects.find(({ x, y }) => nameAt(x, y) === cell)?.color ?? 'none';
  }
  if (a === undefined) throw new Error(`${text} names nothing`);
  if (text.startsWith('Which cell')) return nameAt(a.x, a.y);
  if (/^What (sign|word)/.test(text)) return a.sign;
  if (b === undefined) throw new Error(`${text} names one object`);
  if (text.includes('nearer')) return a.radius > b.radius ? a.color : b.color;
  if (text.includes('left or right')) return a.x < b.x ? 'left' : 'right';
  return a.y < b.y ? 'above' : 'below';
}

describe('a description', () => {
  test('is drawn as it says', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), (seed) => {
        const { objects } = describedScene(
          'large red square left of blue disc with bar, small green triangle in a1',
          'S',
          seed,
        );
        const [red, blue, green] = ['red', 'blue', 'green'].map((color) =>
          objects.find((object) => object.color === color),
        );
        expect(objects).toHaveLength(3);
        expect(red?.kind).toBe('square');
        expect(blue?.sign).toBe('bar');
        expect((blue?.x ?? 0) - (red?.x ?? 0)).toBeGreaterThanOrEqual(8 * unit);
        expect(cellOf(green ?? { x: -1, y: -1 }, scenePresets.S)).toEqual([0, 0]);
        expect(green?.radius).toBeLessThan(red?.radius ?? 0);
      }),
      { numRuns: 20 },
    );
  });

  test('names one object twice where its words are the same', () => {
    const { wishes, relations } = readDescription(
      'red disc left of blue disc, blue disc above green square',
      scenePresets.S,
    );
    expect(wishes).toHaveLength(3);
    expect(relations).toEqual([
      { first: 0, second: 1, relation: 'left' },
      { first: 1, second: 2, relation: 'above' },
    ]);
  });

  test.each([
    ['red squre', "'squre' is not known in scenes of preset S\n  try the nearest is square; there are red, "],
    ['red blob', "'blob' is not known in scenes of preset S\n  try there are red, "],
    ['purple disc', "'purple' is not known in scenes of preset S\n  try preset M has it: --preset M"],
    ['red square left of', "'left' has nothing behind it"],
    ['left of red square', "'left' has nothing before it"],
    ['', 'has no objects'],
    ['red disc in a1, blue disc in a1', 'no scene is found'],
  ])('refuses %j', (text, message) => {
    expect(() => describedScene(text, 'S', 1)).toThrow(message);
  });
});
