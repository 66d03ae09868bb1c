// Attention with every kind of mask and axes that its templates tell apart.
import { symbolSize, type Size } from '../../dsl/axis/axis.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { attention, randomParams, rearrange, trace, type Float, type Tensor } from '../../dsl/index.ts';

type Any = Tensor<string, Float>;

export interface AttentionCase {
  readonly variant:
    | 'full'
    | 'causal'
    | 'bool mask'
    | 'float mask'
    | 'empty rows'
    | 'per region'
    | 'grouped'
    | 'two batches'
    | 'merged heads'
    | 'symbolic';
  readonly queries: number;
  readonly keys: number;
  readonly head: number;
  readonly width?: number;
  readonly dtype?: Float;
}

/** Query [b h q d], keys [b h t d], values [b h t e], or what the variant makes of them. */
export function attentionGraph({ variant, queries, keys, head, width = head, dtype = 'f32' }: AttentionCase): {
  readonly graph: Graph;
  readonly symbols: ReadonlyMap<string, number>;
} {
  const symbols = new Map<string, number>();
  const graph = trace(randomParams(1, { dtype }), (t) => {
    let [q, k]: readonly [Size, Size] = [queries, keys];
    if (variant === 'symbolic') {
      q = symbolSize({ name: 'q', least: 1, bound: queries + 5 });
      k = symbolSize({ name: 't', least: 1, bound: keys + 9 });
      symbols.set('q', queries).set('t', keys);
    }
    const batch = { h: 2, ...(variant === 'two batches' ? { b: 3 } : {}) };
    const names = variant === 'two batches' ? 'b h' : 'h';
    const input = (name: string, axes: string, sizes: Record<string, Size>, type: Float | 'bool' = dtype) =>
      t.input(name, axes, sizes, type) as Any;
    const inner = variant === 'per region' ? `${names} q` : variant === 'grouped' ? names : names;
    const query = input('query', variant === 'grouped' ? `${names} g q d` : `${names} q d`, {
      ...batch,
      ...(variant === 'grouped' ? { g: 3 } : {}),
      q,
      d: head,
    });
    const keyAxes = { ...batch, ...(variant === 'per region' ? { q } : {}), t: k };
    const key = input('key', `${inner} t d`, { ...keyAxes, d: head });
    const value = width === head ? input('value', `${inner} t d`, { ...keyAxes, d: head }) : undefined;
    const options = { key: 't', along: 'd' } as const;
    const mask =
      variant === 'bool mask'
        ? input('mask', 'q t', { q, t: k }, 'bool')
        : variant === 'float mask'
          ? input('mask', 'h q t', { h: 2, q, t: k })
          : variant === 'empty rows'
            ? input('mask', 'q', { q }, 'bool')
            : undefined;
    const y = attention(query, key, value ?? key, {
      ...options,
      causal: variant === 'causal' || variant === 'symbolic',
      ...(mask === undefined ? {} : { mask }),
    });
    if (variant !== 'merged heads') return { y };
    const merged = rearrange(y, 'h q d -> q c=(h d)') as Any;
    return { y: merged.add(input('residual', 'q c', { q, c: 2 * head })) };
  });
  return { graph, symbols };
}

/** With a name for each. */
export const rows = (...cases: readonly AttentionCase[]) =>
  cases.map(
    (c) => [`${c.variant}, ${c.queries} queries, ${c.keys} keys, head ${c.head} ${c.dtype ?? 'f32'}`, c] as const,
  );
