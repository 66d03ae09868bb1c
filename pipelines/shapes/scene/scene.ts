// A scene: a few shapes of different kinds, colors and sizes on a gray ground, the nearer in front of the farther, each with a sign on it.
import { OpabiniaError } from '../../../dsl/error.ts';
import { randomStream, type Random } from './random.ts';

export const colors = ['red', 'green', 'blue', 'yellow', 'purple', 'orange'] as const;
export const kinds = ['disc', 'square', 'triangle', 'diamond', 'cross'] as const;
/** Small signs: one 5 × 5 bitmap each. */
export const glyphs = ['dash', 'bar', 'slash', 'hook'] as const;
/** What is written on the shapes of preset L. */
export const words = ['ant', 'bee', 'cat', 'dog', 'elk', 'fox', 'owl', 'rat'] as const;
export const presetNames = ['S', 'M', 'L'] as const;

export type Color = (typeof colors)[number];
export type ShapeKind = (typeof kinds)[number];
export type Sign = (typeof glyphs)[number] | (typeof words)[number];
export type PresetName = (typeof presetNames)[number];

/** A picture is divided into 4 × 4 cells: rows a to d from the top, columns 1 to 4 from the left. */
export const cellsAcross = 4;
/** Positions and radii are in sixteenths of a pixel. */
export const unit = 16;

export interface ScenePreset {
  readonly name: PresetName;
  /** Side of the picture in pixels. */
  readonly side: number;
  readonly colors: readonly Color[];
  readonly kinds: readonly ShapeKind[];
  readonly signs: readonly Sign[];
  readonly objects: readonly [least: number, most: number];
  /** In sixteenths of a pixel. */
  readonly radius: readonly [least: number, most: number];
  /** Pixels of one bit of a sign. */
  readonly bit: number;
}

const [four, six] = [colors.slice(0, 4), colors];
export const scenePresets: Readonly<Record<PresetName, ScenePreset>> = {
  S: {
    name: 'S',
    side: 64,
    colors: four,
    kinds: kinds.slice(0, 3),
    signs: glyphs,
    objects: [3, 6],
    radius: [88, 152],
    bit: 1,
  },
  M: {
    name: 'M',
    side: 128,
    colors: six,
    kinds: kinds.slice(0, 4),
    signs: glyphs,
    objects: [4, 9],
    radius: [128, 272],
    bit: 2,
  },
  L: { name: 'L', side: 256, colors: six, kinds, signs: words, objects: [5, 12], radius: [288, 544], bit: 2 },
};

export interface SceneObject {
  readonly color: Color;
  readonly kind: ShapeKind;
  readonly sign: Sign;
  /** Center, from the left and from the top, and radius, in sixteenths of a pixel. The larger is the nearer. */
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  /** Brightness in thousandths. */
  readonly shade: number;
}

export interface Scene {
  readonly preset: PresetName;
  readonly seed: number;
  /** From the farthest to the nearest, which is the order in which they are drawn. */
  readonly objects: readonly SceneObject[];
}

/** Row and column of the cell in which a center stands. */
export function cellOf(
  { x, y }: Pick<SceneObject, 'x' | 'y'>,
  { side }: ScenePreset,
): readonly [row: number, column: number] {
  const size = (side * unit) / cellsAcross;
  return [Math.floor(y / size), Math.floor(x / size)];
}

/** `b3`: the second row, the third column. */
export function cellName([row, column]: readonly [row: number, column: number]): string {
  return `${String.fromCharCode(97 + row)}${column + 1}`;
}

/** What an object of a scene must be; the rest is drawn by lot. */
export interface Wish {
  readonly color?: Color | undefined;
  readonly kind?: ShapeKind | undefined;
  readonly sign?: Sign | undefined;
  readonly cell?: readonly [row: number, column: number] | undefined;
  readonly size?: 'small' | 'large' | undefined;
}

const attempts = 400;

/** Scene `index` of a stream: the same one for the same preset and seed, whatever came before. */
export function makeScene(preset: ScenePreset, seed: number): Scene {
  const random = randomStream(`scene ${preset.name}`, seed);
  for (;;) {
    const count = random.between(...preset.objects);
    const objects = placeObjects(
      preset,
      random,
      Array.from({ length: count }, () => ({})),
    );
    if (objects !== undefined) return { preset: preset.name, seed, objects: inDepth(objects) };
  }
}

/**
 * Objects that fulfill the wishes, in their order, or undefined where lots did not fall so. No two share color and kind, a cell, or a
 * radius to within a sixteenth of a pixel; centers keep two pixels (of 64) from the borders of cells, and the nearer never covers the
 * sign of the farther: every label is exact.
 */
export function placeObjects(
  preset: ScenePreset,
  random: Random,
  wishes: readonly Wish[],
): readonly SceneObject[] | undefined {
  const placed: SceneObject[] = [];
  for (const wish of wishes) {
    const one = placeOne(preset, random, placed, wish);
    if (one === undefined) return undefined;
    placed.push(one);
  }
  return placed;
}

export function inDepth(objects: readonly SceneObject[]): readonly SceneObject[] {
  return [...objects].sort((a, b) => a.radius - b.radius);
}

function placeOne(
  preset: ScenePreset,
  random: Random,
  placed: readonly SceneObject[],
  wish: Wish,
): SceneObject | undefined {
  const { side } = preset;
  const [least, most] = preset.radius;
  const third = Math.floor((most - least) / 3);
  const range = { small: [least, least + third], large: [most - third, most], any: [least, most] } as const;
  const from = <T>(list: readonly T[], wanted: T | undefined): T => wanted ?? one(random, list);
  for (let attempt = 0; attempt < attempts; attempt++) {
    const made: SceneObject = {
      color: from(preset.colors, wish.color),
      kind: from(preset.kinds, wish.kind),
      sign: from(preset.signs, wish.sign),
      x: random.below(side * unit),
      y: random.below(side * unit),
      radius: random.between(...range[wish.size ?? 'any']),
      shade: random.between(800, 1100),
    };
    const [row, column] = cellOf(made, preset);
    const isWanted = wish.cell === undefined || (wish.cell[0] === row && wish.cell[1] === column);
    if (isWanted && isInside(made, preset) && placed.every((other) => goTogether(made, other, preset))) return made;
  }
  return undefined;
}

function one<T>(random: Random, list: readonly T[]): T {
  const found = list[random.below(list.length)];
  if (found === undefined) throw new OpabiniaError('a preset of scenes has an empty list', { op: 'scene' });
  return found;
}

/** Two pixels of 64 from the borders of a cell, with its sign whole inside the picture. */
function isInside({ x, y }: SceneObject, preset: ScenePreset): boolean {
  const { side } = preset;
  const [cell, margin, sign] = [(side * unit) / cellsAcross, (side * unit) / 32, signReach(preset)];
  return [x, y].every(
    (at) => at % cell >= margin && at % cell < cell - margin && at >= sign && at < side * unit - sign,
  );
}

/** From the center to the edge of any sign, in sixteenths of a pixel: 5 bits across, three letters on L. */
function signReach({ name, bit }: ScenePreset): number {
  return (name === 'L' ? 9 : 3) * bit * unit;
}

function goTogether(a: SceneObject, b: SceneObject, preset: ScenePreset): boolean {
  if (a.color === b.color && a.kind === b.kind) return false;
  if (a.radius === b.radius || cellName(cellOf(a, preset)) === cellName(cellOf(b, preset))) return false;
  const apart = Math.max(Math.floor((3 * (a.radius + b.radius)) / 4), Math.max(a.radius, b.radius) + signReach(preset));
  return (a.x - b.x) ** 2 + (a.y - b.y) ** 2 >= apart ** 2;
}
