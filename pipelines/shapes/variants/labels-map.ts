// The scene itself as a map of 4 × 4 cells: what the oracle reads.
import { cellOf, cellsAcross, colors, glyphs, kinds, scenePresets, unit, words, type Scene } from '../scene/scene.ts';
import type { MapShape } from '../../../models/connectors/connector.ts';

const signs: readonly string[] = [...glyphs, ...words];
/** Color, kind, sign, size, and where in the cell. */
const channels = colors.length + kinds.length + signs.length + 3;

export const labelsShape: MapShape = [cellsAcross, cellsAcross, channels];

/** Row-major; a cell without an object is 0. */
export function writeLabels(into: Float32Array, scene: Scene): void {
  const preset = scenePresets[scene.preset];
  const cell = (preset.side * unit) / cellsAcross;
  for (const object of scene.objects) {
    const [row, column] = cellOf(object, preset);
    const at = (row * cellsAcross + column) * channels;
    into[at + colors.indexOf(object.color)] = 1;
    into[at + colors.length + kinds.indexOf(object.kind)] = 1;
    into[at + colors.length + kinds.length + signs.indexOf(object.sign)] = 1;
    const [least, most] = preset.radius;
    into.set(
      [
        (2 * (object.radius - least)) / (most - least) - 1,
        (2 * (object.x % cell)) / cell - 1,
        (2 * (object.y % cell)) / cell - 1,
      ],
      at + channels - 3,
    );
  }
}
