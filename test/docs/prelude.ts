// What the examples in the docs are written in: tensors of known numbers, and a checkpoint. from-pytorch.py makes the same.
import { stripTypeScriptTypes } from 'node:module';
import * as dsl from '../../dsl/index.ts';
import { fixedParams, trace, Tensor, type Graph, type ParamSource } from '../../dsl/index.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

/** sin(a·i + b) for i = 0, 1, … */
function waves(count: number, a: number, b: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(a * i + b));
}

const shapes: Readonly<Record<string, readonly number[]>> = {
  'fc.weight': [12, 8],
  'fc.bias': [12],
  'back.weight': [8, 12],
  'back.bias': [8],
  'norm.weight': [8],
  'norm.bias': [8],
  'group.weight': [4],
  'group.bias': [4],
  'conv.weight': [5, 4, 3, 3],
  'conv.bias': [5],
  table: [10, 8],
  'attn.in_proj_weight': [24, 8],
  'attn.in_proj_bias': [24],
  'attn.out_proj.weight': [8, 8],
  'attn.out_proj.bias': [8],
  'bn.weight': [4],
  'bn.bias': [4],
  'bn.running_mean': [4],
  'bn.running_var': [4],
};

export const checkpoint = fixedParams(
  Object.fromEntries(
    Object.entries(shapes).map(([name, shape], k) => [
      name,
      {
        shape,
        values: waves(shape.reduce((n, size) => n * size, 1), 0.7, k).map((v) => (name === 'bn.running_var' ? v + 2 : v)),
      },
    ]),
  ),
);

// Tensor is a type there too.
const functions = Object.keys(dsl).filter((name) => name !== 'Tensor');

/** The names that an example may use, as TypeScript declares them; the values stand in `scope`. */
export const declarations = `import * as dsl from '../../dsl/index.ts';
import type { Float, Graph, Params, ParamSource, Size, Tensor, Trace } from '../../dsl/index.ts';
declare const t: Trace; declare const p: Params; declare const n: Size; declare const graph: Graph; declare const params: ParamSource;
declare const x: Tensor<'b n d', 'f32'>; declare const y: Tensor<'b n d', 'f32'>; declare const keys: Tensor<'b t d', 'f32'>;
declare const image: Tensor<'b h w c', 'f32'>; declare const mask: Tensor<'b n', 'bool'>; declare const labels: Tensor<'b n', 'i32'>;
declare const ids: Tensor<'b k', 'i32'>; declare const table: Tensor<'v d', Float>;
const { ${functions.join(', ')} } = dsl;
void [${functions.join(', ')}];
`;

const image = (x: Tensor<'b c h w', 'f32'>) => dsl.rearrange(x, 'b c h w -> b h w c');

function scope(t: dsl.Trace, source: ParamSource): Readonly<Record<string, unknown>> {
  return {
    ...dsl,
    t,
    p: t.params,
    n: t.symbol('n', { upTo: 64 }),
    params: source,
    graph: trace(source, (inner) => ({ y: dsl.gelu(inner.input('x', 'b d', { b: 2, d: 8 })) }), { unread: 'ignore' }),
    x: t.constant(waves(48, 0.3, 0), 'b n d', { b: 1, n: 6, d: 8 }),
    y: t.constant(waves(48, 0.5, 1), 'b n d', { b: 1, n: 6, d: 8 }),
    keys: t.constant(waves(40, 0.9, 2), 'b t d', { b: 1, t: 5, d: 8 }),
    image: image(t.constant(waves(256, 0.2, 3), 'b c h w', { b: 1, c: 4, h: 8, w: 8 })),
    mask: t.constant([1, 0, 0, 1, 1, 0], 'b n', { b: 1, n: 6 }, 'bool'),
    labels: t.constant([0, 1, 2, 3, 4, 5], 'b n', { b: 1, n: 6 }, 'i32'),
    ids: t.constant([3, 0, 7], 'b k', { b: 1, k: 3 }, 'i32'),
    get table() {
      return source.names() === undefined ? undefined : t.params.get('table', 'v d');
    },
  };
}

/** Runs a block whose last line is an expression, inside a trace; what it gives, and the graph of it where it is a tensor. */
export function runBlock(code: string, source: ParamSource): { readonly value: unknown; readonly graph: Graph } {
  const lines = stripTypeScriptTypes(code).trim().split('\n');
  const last = lines.pop() ?? '';
  const body = /^(const|let) /.test(last) ? [...lines, last] : [...lines, `return (${last.replace(/;?\s*(\/\/.*)?$/, '')}\n);`];
  let value: unknown;
  const graph = trace(
    source,
    (t) => {
      const names = scope(t, source);
      // The docs are ours; running them is the test.
      // oxlint-disable-next-line typescript/no-implied-eval
      const run = new Function(...Object.keys(names), body.join('\n')) as (...values: readonly unknown[]) => unknown;
      value = run(...Object.values(names));
      return { y: value instanceof Tensor ? value : t.constant(0, 'z', { z: 1 }) };
    },
    { unread: 'ignore' },
  );
  return { value, graph };
}

/** The numbers of a graph's only output, each op rounded to its dtype. */
export function numbersOf(graph: Graph, source: ParamSource): { readonly shape: readonly number[]; readonly values: readonly number[] } {
  const { outputs } = evaluate(
    graph,
    { inputs: new Map(), params: (path, shape) => source.read(path, shape) },
    { precision: 'f32' },
  );
  const y = outputs.get('y');
  return { shape: y?.axes.map((axis) => axis.size) ?? [], values: Array.from(y?.data ?? [], Number) };
}
