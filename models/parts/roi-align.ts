// RoIAlign (He et al. 2017, arXiv 1703.06870, section 3) of boxes that are known beforehand: one constant matrix an axis.
import { constantLike, gather, rearrange, type Float, type Tensor } from '../../dsl/index.ts';
import { contractAxis } from '../../dsl/functions/resample.ts';
import type { FeatureMap } from '../sequence/regions.ts';

/** Left, top, right and bottom, in cells: a cell's centre lies on a whole number, as torchvision has it with `aligned=False`. */
export type Box = readonly [left: number, top: number, right: number, bottom: number];
type Span = readonly [from: number, to: number];

/** Equal boxes of a grid of `side` × `side` over a map, row by row. */
export function gridBoxes(rows: number, columns: number, side: number): readonly Box[] {
  const [height, width] = [rows / side, columns / side];
  return Array.from({ length: side * side }, (_, i) => {
    const [row, column] = [Math.floor(i / side), i % side];
    return [column * width, row * height, (column + 1) * width, (row + 1) * height];
  });
}

/** Of every box r, i × j means of bilinear samples, as many along each axis as a bin has cells, rounded up. */
export function alignedRegions(
  map: FeatureMap,
  boxes: readonly Box[],
  bins: readonly [rows: number, columns: number],
): Tensor<'b r i j c', Float> {
  const [down, across] = [
    spansOf(boxes.map(([, top, , bottom]) => [top, bottom])),
    spansOf(boxes.map(([left, , right]) => [left, right])),
  ];
  // Boxes share their rows and columns, so that each distinct one is sampled once.
  const tall = sampled(map, 'h', down.distinct, bins[0]);
  const wide = sampled(tall, 'w', across.distinct, bins[1]);
  const split = rearrange(wide, 'b (y i) (x j) c -> b y x i j c', { i: bins[0], j: bins[1] });
  const isGrid =
    boxes.length === down.distinct.length * across.distinct.length &&
    boxes.every(
      (_, r) => down.of[r] === Math.floor(r / across.distinct.length) && across.of[r] === r % across.distinct.length,
    );
  if (isGrid) return rearrange(split, 'b y x i j c -> b r=(y x) i j c');
  const all = rearrange(split, 'b y x i j c -> s=(y x) b i j c');
  const places = boxes.map((_, r) => (down.of[r] ?? 0) * across.distinct.length + (across.of[r] ?? 0));
  const picked = gather(all, constantLike(map, places, 'r', { r: boxes.length }, 'i32'), 's');
  return rearrange(picked, 'r b i j c -> b r i j c');
}

/** The distinct spans, and which of them each box has. */
function spansOf(spans: readonly Span[]): { readonly distinct: readonly Span[]; readonly of: readonly number[] } {
  const names = spans.map(([from, to]) => `${from} ${to}`);
  const order = [...new Set(names)];
  return {
    distinct: order.map((name) => spans[names.indexOf(name)] ?? [0, 1]),
    of: names.map((name) => order.indexOf(name)),
  };
}

function sampled(map: FeatureMap, axis: 'h' | 'w', spans: readonly Span[], bins: number): FeatureMap {
  const columns = map.size(axis);
  const rows = spans.length * bins;
  const values = new Float64Array(rows * columns);
  for (const [s, [from, to]] of spans.entries()) {
    // In f32 as the original: how many samples a bin has may hang on the last bit.
    const start = Math.fround(from);
    const size = Math.max(Math.fround(Math.fround(to) - start), 1);
    const bin = Math.fround(size / bins);
    const samples = Math.ceil(Math.fround(size / bins));
    for (let b = 0; b < bins; b++)
      for (let i = 0; i < samples; i++)
        addSample(
          values.subarray((s * bins + b) * columns, (s * bins + b + 1) * columns),
          start + b * bin + ((i + 0.5) * bin) / samples,
          1 / samples,
        );
  }
  return contractAxis('alignedRegions', map, axis, { rows, columns, values });
}

/** A linear sample at `at`: more than a cell outside it is zero, nearer it is the border's. */
function addSample(row: Float64Array, at: number, weight: number): void {
  if (at < -1 || at > row.length) return;
  const inside = Math.max(0, at);
  const low = Math.min(Math.floor(inside), row.length - 1);
  const high = Math.min(low + 1, row.length - 1);
  const far = low === high ? 0 : inside - low;
  row[low] = (row[low] ?? 0) + weight * (1 - far);
  row[high] = (row[high] ?? 0) + weight * far;
}
