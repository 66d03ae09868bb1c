// A scene as pixels: whole numbers only, edges by 4 × 4 samples a pixel, so that every machine draws the same bytes.
import { randomStream } from './random.ts';
import { scenePresets, unit, type Color, type Scene, type SceneObject, type ShapeKind } from './scene.ts';
import { bitmapOf } from './signs.ts';

export interface Drawn {
  readonly width: number;
  readonly height: number;
  /** Row-major, three bytes a pixel. */
  readonly rgb: Uint8Array;
  /** Of each pixel the object that is seen there, from 1 in the order of the scene; 0 for the ground. */
  readonly owner: Uint8Array;
}

const paint: Readonly<Record<Color, readonly [red: number, green: number, blue: number]>> = {
  red: [215, 48, 44],
  green: [52, 160, 62],
  blue: [50, 84, 214],
  yellow: [228, 200, 48],
  purple: [150, 60, 180],
  orange: [228, 128, 32],
};
const samples = 4;
const ink = 245;

/** Whether a point at (dx, dy) from the center is inside; all in sixteenths of a pixel. */
const inside: Readonly<Record<ShapeKind, (dx: number, dy: number, r: number) => boolean>> = {
  disc: (dx, dy, r) => dx * dx + dy * dy < r * r,
  square: (dx, dy, r) => 20 * Math.max(Math.abs(dx), Math.abs(dy)) < 17 * r,
  triangle: (dx, dy, r) => dy > -r && 5 * dy < 4 * r && 20 * Math.abs(dx) < 11 * (dy + r),
  diamond: (dx, dy, r) => 5 * (Math.abs(dx) + Math.abs(dy)) < 6 * r,
  cross: (dx, dy, r) => Math.max(Math.abs(dx), Math.abs(dy)) < r && 5 * Math.min(Math.abs(dx), Math.abs(dy)) < 2 * r,
};

const convex: ReadonlySet<ShapeKind> = new Set(['disc', 'square', 'triangle', 'diamond']);

export function drawScene(scene: Scene): Drawn {
  const { side } = scenePresets[scene.preset];
  const rgb = new Uint8Array(side * side * 3);
  const owner = new Uint8Array(side * side);
  ground(rgb, scene);
  scene.objects.forEach((object, i) => drawObject(rgb, owner, side, object, i + 1));
  const { bit } = scenePresets[scene.preset];
  for (const object of scene.objects) drawSign(rgb, side, object, bit);
  return { width: side, height: side, rgb, owner };
}

/** Gray with noise of about six levels' deviation. */
function ground(rgb: Uint8Array, { preset, seed }: Scene): void {
  const random = randomStream(`ground ${preset}`, seed);
  const level = random.between(90, 130);
  for (let i = 0; i < rgb.length; i++) {
    const bits = random.bits();
    const sum = (bits & 15) + ((bits >>> 4) & 15) + ((bits >>> 8) & 15) + ((bits >>> 12) & 15);
    rgb[i] = level + Math.trunc(((sum - 30) * 2) / 3);
  }
}

function drawObject(rgb: Uint8Array, owner: Uint8Array, side: number, object: SceneObject, number: number): void {
  const { x, y, radius, shade } = object;
  const color = paint[object.color].map((level) => Math.min(255, Math.floor((level * shade) / 1000)));
  const isInside = inside[object.kind];
  const reach = Math.ceil((radius * 6) / 5);
  const range = (center: number): readonly [first: number, last: number] => [
    Math.max(0, Math.floor((center - reach) / unit)),
    Math.min(side - 1, Math.floor((center + reach) / unit)),
  ];
  const [[top, bottom], [left, right]] = [range(y), range(x)];
  const step = unit / samples;
  for (let row = top; row <= bottom; row++)
    for (let column = left; column <= right; column++) {
      const isIn = (i: number, j: number): boolean =>
        isInside(column * unit + i * step + step / 2 - x, row * unit + j * step + step / 2 - y, radius);
      let covered = 0;
      // What has all four corners inside a convex shape is inside.
      const isFull = convex.has(object.kind) && isIn(0, 0) && isIn(3, 0) && isIn(0, 3) && isIn(3, 3);
      if (isFull) covered = samples * samples;
      else for (let i = 0; i < samples * samples; i++) if (isIn(i % samples, Math.floor(i / samples))) covered++;
      if (covered === 0) continue;
      const at = row * side + column;
      blend(rgb, at, color, covered, samples * samples);
      if (2 * covered >= samples * samples) owner[at] = number;
    }
}

function blend(rgb: Uint8Array, at: number, color: readonly number[], part: number, whole: number): void {
  for (let c = 0; c < 3; c++) {
    const below = rgb[3 * at + c] ?? 0;
    rgb[3 * at + c] = Math.floor((below * (whole - part) + (color[c] ?? 0) * part + whole / 2) / whole);
  }
}

/** The sign at the center of its object, in near white. */
function drawSign(rgb: Uint8Array, side: number, { x, y, sign }: SceneObject, bit: number): void {
  const { width, rows } = bitmapOf(sign);
  const left = Math.floor(x / unit) - Math.floor((width * bit) / 2);
  const top = Math.floor(y / unit) - Math.floor((rows.length * bit) / 2);
  for (let row = 0; row < rows.length * bit; row++)
    for (let column = 0; column < width * bit; column++) {
      const [py, px] = [top + row, left + column];
      const isSet = (((rows[Math.floor(row / bit)] ?? 0) >> (width - 1 - Math.floor(column / bit))) & 1) === 1;
      if (isSet && py >= 0 && px >= 0 && py < side && px < side)
        rgb.fill(ink, 3 * (py * side + px), 3 * (py * side + px) + 3);
    }
}
