// How far a correct run in f16 may be from the exact values: found by rounding the graph's own storage points, each either way.
import type { DType } from '../../dsl/graph/op.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { evaluate, type Feeds, type Precision } from '../../runtime/reference/reference.ts';
import type { Outputs } from './backends.ts';

/**
 * A value of dtype f16, a weight, an input or the result of an op, is stored once, and WGSL leaves open to which of its two f16 neighbors
 * it is rounded (§15.7.6). A run with every rounding drawn is one that a correct device may make. These are drawn independently, or all
 * towards zero, or all away from it, which is what a driver that truncates does, and what rounds alike does not cancel.
 */
const draws = ['seed 1', 'seed 2', 'seed 3', 'seed 4', 'towards zero', 'away from zero'] as const;

/**
 * The norm of many errors hardly differs from run to run; that of a few does: of one normal error, every 300th is twice as large as the
 * largest of four.
 */
const margin = 2;

/** Units of f16 in the last place, by the exponent field of an f32. Subnormal ones are 2⁻²⁴ apart. */
const units = Float64Array.from({ length: 256 }, (_, field) => 2 ** (Math.max(field - 127, -14) - 10));
const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** The largest number of f16. */
const largest = 65_504;

/** The f16 neighbors of a number; the number itself twice where it is one. Beyond the largest, infinity is a neighbor. */
export function halfNeighbors(x: number): readonly [towardsZero: number, away: number] {
  if (!Number.isFinite(x) || Math.f16round(x) === x) return [x, x];
  if (Math.abs(x) > largest) return [Math.sign(x) * largest, Math.sign(x) * Infinity];
  float[0] = x;
  const bits = word[0] ?? 0;
  // An f32 may have been rounded up to a power of two, above which neighbors are further apart than at the number itself.
  const isRoundedUp = (bits & 0x7fffff) === 0 && Math.abs(float[0] ?? 0) > Math.abs(x);
  const unit = units[((bits >>> 23) & 0xff) - Number(isRoundedUp)] ?? 2 ** -24;
  const inner = Math.trunc(x / unit) * unit;
  return [inner, Math.f16round(inner + Math.sign(x) * unit)];
}

/**
 * For each output of a graph, the largest ‖rounded − exact‖ / ‖exact‖ that its f16 storage allows. 0 where nothing of f16 leads to it.
 * Its cost is that of seven runs on the interpreter.
 */
export function halfBounds(graph: Graph, feeds: Feeds): ReadonlyMap<string, number> {
  const run = (precision: Precision): Outputs =>
    new Map([...evaluate(graph, feeds, { precision }).outputs].map(([name, { data }]) => [name, data]));
  return boundsOf(
    run('f64'),
    draws.map((draw) => run(rounding(draw))),
  );
}

/** The same for what takes several graphs or several runs of one, whose states are storage points like all others. */
export async function halfBoundsOfRuns(
  run: (precision: Precision) => Promise<Outputs>,
): Promise<ReadonlyMap<string, number>> {
  const rounded: Outputs[] = [];
  for (const draw of draws) rounded.push(await run(rounding(draw)));
  return boundsOf(await run('f64'), rounded);
}

function boundsOf(exact: Outputs, rounded: readonly Outputs[]): ReadonlyMap<string, number> {
  return new Map(
    [...exact].map(([name, values]) => [
      name,
      margin * Math.max(...rounded.map((run) => relativeDistance(run.get(name) ?? [], values))),
    ]),
  );
}

function rounding(draw: (typeof draws)[number]): (x: number, dtype: DType) => number {
  let state = draws.indexOf(draw) + 1;
  const isAway = (): boolean => {
    if (!draw.startsWith('seed')) return draw === 'away from zero';
    // Marsaglia's xorshift of 32 bits.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state < 0;
  };
  return (x, dtype) => {
    if (dtype !== 'f16') return x;
    const [inner, outer] = halfNeighbors(x);
    return inner !== outer && isAway() ? outer : inner;
  };
}

function relativeDistance(values: ArrayLike<number>, exact: ArrayLike<number>): number {
  let [squares, norm] = [0, 0];
  for (let i = 0; i < exact.length; i++) {
    const [a, b] = [values[i] ?? NaN, exact[i] ?? NaN];
    // Infinities that agree are at no distance.
    if (a !== b) squares += (a - b) ** 2;
    norm += b * b;
  }
  return squares === 0 ? 0 : Math.sqrt(squares / (norm === 0 ? 1 : norm));
}
