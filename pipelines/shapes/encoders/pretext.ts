// What the encoders learn before anybody connects them: of every patch what is seen there, as classes that the scene knows.
import { crossEntropy, linear, slice, type Params, type Tensor } from '../../../dsl/index.ts';
import type { FeatureMap } from '../../../models/sequence/regions.ts';
import type { Drawn } from '../scene/draw.ts';
import { scenePresets, unit, type Scene, type SceneObject } from '../scene/scene.ts';

/** Not learned from. */
const ignored = -100;

interface Patch {
  readonly scene: Scene;
  /** What is seen in most of the patch, and what has its center there. */
  readonly seen: SceneObject | undefined;
  readonly center: SceneObject | undefined;
  /** The object whose sign may reach into the patch. */
  readonly near: SceneObject | undefined;
  readonly owners: number;
  /** Of the patch, from the top and from the left. */
  readonly row: number;
  readonly column: number;
}

/** A class for every patch; `classes` many. */
export interface Attribute {
  readonly name: string;
  /** Of one patch in the loss: what few patches have counts more. */
  readonly weight: number;
  /** `grid`: side of the map, in patches. */
  readonly classes: (scene: Pick<Scene, 'preset'>, grid: number) => number;
  readonly label: (patch: Patch) => number;
}

const index = <T>(list: readonly T[], one: T | undefined): number => (one === undefined ? ignored : list.indexOf(one));
const presetOf = (scene: Pick<Scene, 'preset'>) => scenePresets[scene.preset];

const color: Attribute = {
  name: 'color',
  weight: 1,
  classes: (scene) => presetOf(scene).colors.length + 1,
  // The last class is the ground.
  label: ({ scene, seen, center }) => {
    const { colors } = presetOf(scene);
    const object = center ?? seen;
    return object === undefined ? colors.length : colors.indexOf(object.color);
  },
};
const kind: Attribute = {
  name: 'kind',
  weight: 3,
  classes: (scene) => presetOf(scene).kinds.length,
  label: ({ scene, seen, center }) => index(presetOf(scene).kinds, (center ?? seen)?.kind),
};
const middle: Attribute = {
  name: 'middle',
  weight: 1,
  classes: () => 2,
  label: ({ center }) => (center === undefined ? 0 : 1),
};
const sizes = 6;
const size: Attribute = {
  name: 'size',
  weight: 6,
  classes: () => sizes,
  label: ({ scene, center }) => {
    if (center === undefined) return ignored;
    const [least, most] = presetOf(scene).radius;
    return Math.min(sizes - 1, Math.floor((sizes * (center.radius - least)) / (most - least + 1)));
  },
};
const edge: Attribute = { name: 'edge', weight: 1, classes: () => 2, label: ({ owners }) => (owners > 1 ? 1 : 0) };
const sign: Attribute = {
  name: 'sign',
  weight: 6,
  classes: (scene) => presetOf(scene).signs.length,
  label: ({ scene, near }) => index(presetOf(scene).signs, near?.sign),
};
// Where the patch is. What CLIP and DINO know of it without having been asked, a small encoder has to be asked: otherwise its features hold next to nothing of their place.
const row: Attribute = { name: 'row', weight: 1, classes: (_, grid) => grid, label: (patch) => patch.row };
const column: Attribute = { name: 'column', weight: 1, classes: (_, grid) => grid, label: (patch) => patch.column };

/** Of the coarse encoder and of the fine one: their talents. */
export const attributes: readonly [readonly Attribute[], readonly Attribute[]] = [
  [color, kind, middle, size, row, column],
  [color, kind, edge, sign],
];

/** Σ over the pictures of the weighed cross-entropies of all attributes, a mean over the patches: labels are the inputs `labels_{k}_{name}`, `b h w`. */
export function pretextLoss(
  p: Params,
  map: FeatureMap,
  labels: (name: string) => Tensor<'b h w', 'i32'>,
  own: readonly Attribute[],
  scene: Pick<Scene, 'preset'>,
): Tensor<'', 'f32'> {
  const widths = own.map((attribute) => attribute.classes(scene, map.size('h')));
  const all = linear(p.at('head'), map, 'k', { size: widths.reduce((sum, width) => sum + width, 0) });
  let start = 0;
  const losses = own.map(({ name, weight }, i) => {
    const logits = slice(all, 'k', { start, size: widths[i] ?? 0 });
    start += widths[i] ?? 0;
    return crossEntropy(logits, labels(name), { axis: 'k', reduction: 'sum' }).mul(
      weight / (map.size('h') * map.size('w')),
    );
  });
  const [first, ...rest] = losses;
  if (first === undefined) throw new RangeError('an encoder has at least one attribute');
  return rest.reduce((sum, loss) => sum.add(loss), first);
}

/** Labels of a picture by attribute, row-major over a grid. */
export function pretextLabels(
  scene: Scene,
  { owner, width }: Drawn,
  grid: number,
  own: readonly Attribute[],
): readonly Int32Array[] {
  const labels = own.map(() => new Int32Array(grid * grid));
  const patch = width / grid;
  for (let row = 0; row < grid; row++)
    for (let column = 0; column < grid; column++) {
      const found = patchAt(scene, owner, width, { patch, row, column });
      own.forEach(({ label }, i) => labels[i]?.fill(label(found), row * grid + column, row * grid + column + 1));
    }
  return labels;
}

interface Place {
  readonly patch: number;
  readonly row: number;
  readonly column: number;
}

function patchAt(scene: Scene, owner: Uint8Array, width: number, { patch, row, column }: Place): Patch {
  const counts = new Map<number, number>();
  for (let y = row * patch; y < (row + 1) * patch; y++)
    for (let x = column * patch; x < (column + 1) * patch; x++) {
      const number = owner[y * width + x] ?? 0;
      counts.set(number, (counts.get(number) ?? 0) + 1);
    }
  const most = [...counts].reduce((best, one) => (one[1] > best[1] ? one : best));
  const length = patch * unit;
  const reach = length / 2 + 2 * unit * scenePresets[scene.preset].bit;
  const away = ({ x, y }: SceneObject) =>
    Math.max(Math.abs(x - (column + 0.5) * length), Math.abs(y - (row + 0.5) * length));
  return {
    scene,
    seen: scene.objects[most[0] - 1],
    center: scene.objects.find(({ x, y }) => Math.floor(x / length) === column && Math.floor(y / length) === row),
    near: scene.objects.find((object) => away(object) < reach),
    owners: counts.size,
    row,
    column,
  };
}
