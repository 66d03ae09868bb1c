// Plain mathematics over numbers, for judging connectors that have no golden file; and what a connector gives by the interpreter in double precision.
import { expect } from 'vitest';
import { randomParams, trace, type Graph, type Tensor, type Trace } from '../../dsl/index.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

export type Vector = readonly number[];
/** Rows, columns, channels. */
export type Grid = readonly (readonly Vector[])[];

export const source = randomParams(11);
export const seed = (k: number) => (i: number) => Math.sin(1.7 * (i + 1) + 3.1 * k);

export function grid(h: number, w: number, c: number, k = 0): Grid {
  const at = seed(k);
  return Array.from({ length: h }, (_, y) =>
    Array.from({ length: w }, (_column, x) => Array.from({ length: c }, (_channel, e) => at((y * w + x) * c + e))),
  );
}

/** The tokens that the connector gives, by the interpreter in double precision. */
export function tokens(
  connector: AnyConnector,
  config: object,
  maps: readonly Grid[],
  width: number,
): readonly Vector[] {
  const graph: Graph = trace(source, (t) => {
    const inputs = maps.map((map, k) =>
      t.input(`m${k}`, 'b h w c', { b: 1, h: map.length, w: map[0]?.length ?? 0, c: map[0]?.[0]?.length ?? 0 }),
    );
    return { y: connector.build(t.params, inputs, config, { width }).tokens };
  });
  const inputs = new Map(maps.map((map, k) => [`m${k}`, map.flat(2)]));
  const data =
    evaluate(graph, { inputs, params: (path, shape) => source.read(path, shape) }, { precision: 'f64' }).outputs.get(
      'y',
    )?.data ?? [];
  return Array.from({ length: data.length / width }, (_, n) =>
    Array.from({ length: width }, (_e, e) => data[n * width + e] ?? NaN),
  );
}

export function close(got: readonly Vector[], want: readonly Vector[]): void {
  expect(got.length).toBe(want.length);
  got.forEach((token, n) =>
    token.forEach((x, e) => expect(Math.abs(x - (want[n]?.[e] ?? NaN)), `token ${n}, channel ${e}`).toBeLessThan(1e-9)),
  );
}

// ---- plain mathematics ---------------------------------------------------------------------------------------------

export function linear(path: string, x: Vector, out: number, bias = true): Vector {
  const weight = source.read(`${path}.weight`, [out, x.length]);
  const offset = bias ? source.read(`${path}.bias`, [out]) : new Float32Array(out);
  return Array.from({ length: out }, (_, o) =>
    x.reduce((sum, value, i) => sum + value * (weight[o * x.length + i] ?? 0), offset[o] ?? 0),
  );
}

/** By its Taylor series, which converges everywhere. */
export function erf(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

export const gelu = (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2));
export const geluTanh = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

export function mlp(paths: readonly [string, string], x: Vector, hidden: number, out: number, act = gelu): Vector {
  return linear(paths[1], linear(paths[0], x, hidden).map(act), out);
}

export function layerNorm(path: string, x: Vector, eps: number): Vector {
  const mean = x.reduce((sum, v) => sum + v, 0) / x.length;
  const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length;
  const [weight, bias] = [source.read(`${path}.weight`, [x.length]), source.read(`${path}.bias`, [x.length])];
  return x.map((v, i) => ((v - mean) / Math.sqrt(variance + eps)) * (weight[i] ?? 0) + (bias[i] ?? 0));
}

/** Patches of each square side by side, row by row. */
export function squares(map: Grid, k: number): Grid {
  return Array.from({ length: map.length / k }, (_, y) =>
    Array.from({ length: (map[0]?.length ?? 0) / k }, (_column, x) =>
      Array.from({ length: k * k }, (_patch, i) => map[y * k + Math.floor(i / k)]?.[x * k + (i % k)] ?? []).flat(),
    ),
  );
}

export function eachCell(map: Grid, f: (x: Vector, row: number, column: number) => Vector): Grid {
  return map.map((line, row) => line.map((cell, column) => f(cell, row, column)));
}

/** A 3 × 3 convolution of stride 2 with a border of zeros. */
export function strided(path: string, map: Grid, out: number, bias: boolean): Grid {
  const c = map[0]?.[0]?.length ?? 0;
  const weight = source.read(`${path}.weight`, [out, c, 3, 3]);
  const offset = bias ? source.read(`${path}.bias`, [out]) : new Float32Array(out);
  return Array.from({ length: Math.ceil(map.length / 2) }, (_, y) =>
    Array.from({ length: Math.ceil((map[0]?.length ?? 0) / 2) }, (_column, x) =>
      Array.from({ length: out }, (_out, o) => {
        let sum = offset[o] ?? 0;
        for (let i = 0; i < 3; i++)
          for (let j = 0; j < 3; j++)
            for (let e = 0; e < c; e++)
              sum += (map[2 * y + i - 1]?.[2 * x + j - 1]?.[e] ?? 0) * (weight[((o * c + e) * 3 + i) * 3 + j] ?? 0);
        return sum;
      }),
    ),
  );
}

export function vector(path: string, shape: readonly number[]): Vector {
  return Array.from(source.read(path, shape));
}

/** Bilinear samples, pixels on pixels (`align_corners=False`). */
export function bilinear(map: Grid, rows: number, columns: number): Grid {
  const near = (at: number, from: number, to: number) => {
    const position = Math.max(0, ((at + 0.5) * from) / to - 0.5);
    const low = Math.min(Math.floor(position), from - 1);
    return { low, high: Math.min(low + 1, from - 1), part: position - low };
  };
  const [h, w] = [map.length, map[0]?.length ?? 0];
  return Array.from({ length: rows }, (_, i) =>
    Array.from({ length: columns }, (_column, j) => {
      const [y, x] = [near(i, h, rows), near(j, w, columns)];
      return (map[0]?.[0] ?? []).map((_channel, e) => {
        const at = (row: number, column: number) => map[row]?.[column]?.[e] ?? NaN;
        const top = at(y.low, x.low) * (1 - x.part) + at(y.low, x.high) * x.part;
        const bottom = at(y.high, x.low) * (1 - x.part) + at(y.high, x.high) * x.part;
        return top * (1 - y.part) + bottom * y.part;
      });
    }),
  );
}

/** x / √(mean x² + eps) · weight. */
export function rmsNorm(path: string, x: Vector, eps: number): Vector {
  const square = x.reduce((sum, v) => sum + v * v, 0) / x.length;
  const weight = source.read(`${path}.weight`, [x.length]);
  return x.map((v, i) => (v / Math.sqrt(square + eps)) * (weight[i] ?? 0));
}

/** What queries read by heads of keys and values; `sees`: which keys a query may attend to. */
export function attend(
  queries: readonly Vector[],
  keys: readonly Vector[],
  values: readonly Vector[],
  heads: number,
  sees: (query: number, key: number) => boolean = () => true,
): readonly Vector[] {
  const size = (queries[0]?.length ?? 0) / heads;
  return queries.map((query, i) =>
    Array.from({ length: heads }, (_, a) => {
      const part = (x: Vector) => x.slice(a * size, (a + 1) * size);
      const scores = keys.map((key, j) =>
        sees(i, j) ? part(key).reduce((sum, k, d) => sum + k * (part(query)[d] ?? 0), 0) / Math.sqrt(size) : -Infinity,
      );
      const most = Math.max(...scores);
      const powers = scores.map((score) => Math.exp(score - most));
      const total = powers.reduce((sum, power) => sum + power, 0);
      return part(queries[0] ?? []).map((_d, d) =>
        values.reduce((sum, value, j) => sum + ((powers[j] ?? 0) / total) * (part(value)[d] ?? 0), 0),
      );
    }).flat(),
  );
}

/** Numbers of a graph's only output `y`, in rows of `width`. */
export function computed(
  width: number,
  inputs: ReadonlyMap<string, readonly number[]>,
  build: (t: Trace) => Tensor,
): readonly Vector[] {
  const graph: Graph = trace(source, (t) => ({ y: build(t) }));
  const given = new Map([...inputs].map(([name, values]) => [name, Float64Array.from(values)]));
  const run = evaluate(
    graph,
    { inputs: given, params: (path, shape) => source.read(path, shape) },
    { precision: 'f64' },
  );
  const data = run.outputs.get('y')?.data ?? [];
  return Array.from({ length: data.length / width }, (_, n) =>
    Array.from({ length: width }, (_e, e) => Number(data[n * width + e] ?? NaN)),
  );
}
