// What the visual tokens of one picture are, in the order the language model reads them. Layouts are made together with the tokens they describe, never written by hand.
import {
  concat,
  constantLike,
  OpabiniaError,
  rearrange,
  repeat,
  slice,
  type Float,
  type Tensor,
} from '../../dsl/index.ts';
import { plural } from '../../dsl/text/plural.ts';
import type { FeatureMap } from '../sequence/regions.ts';

/** What a visual token stands for: a cell of a grid, a query without a place, or a learned mark between them. */
export type TokenRole = 'cell' | 'query' | 'newline' | 'separator' | 'start' | 'end';

/** Tokens in a row of one role. A grid is one run for each of its rows, so that marks can stand between them. */
export interface Run {
  readonly role: TokenRole;
  readonly count: number;
  /** Which view of the picture a cell belongs to: 0 is the whole picture, tiles follow. */
  readonly view?: number | undefined;
  /** The row of that view's grid. */
  readonly row?: number | undefined;
}

export type Layout = readonly Run[];

/** What a connector hands to the language model. Make it with the functions of this file. */
export interface VisualTokens {
  readonly tokens: Tensor<'b n e', Float>;
  readonly layout: Layout;
  /** Tensors that `inject` reads inside the language model, by name. */
  readonly carries?: Readonly<Record<string, Tensor>> | undefined;
  /** What a training adds to its loss, by name and each as it is, such as a balance of experts; nothing else computes them. */
  readonly losses?: Readonly<Record<string, Tensor<'', Float>>> | undefined;
}

/**
 * Tokens that a layout has.
 * @example tokenCount([{ role: 'query', count: 64 }, { role: 'end', count: 1 }]) // 65
 */
export function tokenCount(layout: Layout): number {
  return layout.reduce((sum, run) => sum + run.count, 0);
}

/**
 * A grid of tokens, row by row.
 * @example gridTokens(grid) // of 'b h w e'; the layout is h rows of w cells
 */
export function gridTokens(grid: Tensor<'b h w e', Float>, view = 0): VisualTokens {
  const [rows, columns] = [grid.size('h'), grid.size('w')];
  return {
    tokens: rearrange(grid, 'b h w e -> b n=(h w) e'),
    layout: Array.from({ length: rows }, (_, row) => ({ role: 'cell', count: columns, view, row })),
  };
}

/**
 * `gridTokens` of a map whose channels are the language model's.
 * @example mapTokens(linear(p.at('proj'), map, 'c', { size: 4096 }))
 */
export function mapTokens(map: FeatureMap, view = 0): VisualTokens {
  return gridTokens(toLanguage(map), view);
}

/**
 * A map whose channels go on as the language model's.
 * @example const grid = toLanguage(map) // 'b h w c' as 'b h w e'
 */
export function toLanguage(map: FeatureMap): Tensor<'b h w e', Float> {
  return rearrange(map, 'b h w c -> b h w e=(c)');
}

/**
 * What becomes of every token by itself; the layout stays.
 * @example eachToken(gridTokens(grid), (tokens) => layerNorm(p.at('norm'), tokens))
 */
export function eachToken(
  { tokens, layout }: VisualTokens,
  change: (tokens: Tensor<'b n e', Float>) => Tensor<'b n e', Float>,
): VisualTokens {
  return { tokens: change(tokens), layout };
}

/**
 * Tokens without a place on a grid: results of learned queries, or of a selection.
 * @example queryTokens(tokens) // of 'b n e'; the layout is n queries
 */
export function queryTokens(tokens: Tensor<'b n e', Float>): VisualTokens {
  return { tokens, layout: [{ role: 'query', count: tokens.size('n') }] };
}

/**
 * The results of learned queries as tokens.
 * @example tokensOfQueries(attended) // of 'b q c'
 */
export function tokensOfQueries(results: Tensor<'b q c', Float>): VisualTokens {
  return queryTokens(rearrange(results, 'b q c -> b n=(q) e=(c)'));
}

/**
 * No token in the prompt: of connectors that the language model reads inside only. `width` is that of the language model.
 * @example noTokens(map, 4096, { keys, values })
 */
export function noTokens(
  like: Tensor<string, Float>,
  width: number,
  carries: Readonly<Record<string, Tensor>>,
): VisualTokens {
  const sizes = { b: like.axes[0]?.size ?? 1, n: 0, e: width };
  return { tokens: repeat(constantLike(like, [0], '', {}, like.dtype), '-> b n e', sizes), layout: [], carries };
}

/**
 * One learned vector as a token.
 * @example markToken(p.get('newline', 'e', { e: 4096 }), 'newline', gridTokens(grid))
 */
export function markToken(mark: Tensor<'e', Float>, role: TokenRole, like: VisualTokens): VisualTokens {
  return {
    tokens: repeat(mark, 'e -> b n e', { b: like.tokens.sizeOf('b'), n: 1 }),
    layout: [{ role, count: 1 }],
  };
}

/** Losses of one name, as of the same module on every tile, are added up; the same one in several parts is one. */
function lossesOfAll(parts: readonly VisualTokens[]): Readonly<Record<string, Tensor<'', Float>>> {
  const named = new Map<string, Set<Tensor<'', Float>>>();
  for (const { losses = {} } of parts)
    for (const [name, loss] of Object.entries(losses)) named.set(name, (named.get(name) ?? new Set()).add(loss));
  return Object.fromEntries(
    [...named].flatMap(([name, all]) => {
      const [first, ...others] = all;
      if (first === undefined) return [];
      const sum = others.reduce((total, loss) => total.add(loss.cast('f32')), first.cast('f32'));
      return [[name, others.length === 0 ? first : sum] as const];
    }),
  );
}

/**
 * One behind the other; what they carry goes on together, and their losses, those of one name added up.
 * @example joinTokens([gridTokens(whole), markToken(mark, 'separator', gridTokens(whole)), gridTokens(tile, 1)])
 */
export function joinTokens(parts: readonly VisualTokens[]): VisualTokens {
  const carries = Object.assign({}, ...parts.map((part) => part.carries ?? {})) as Record<string, Tensor>;
  const losses = lossesOfAll(parts);
  return {
    tokens: concat(
      parts.map((part) => part.tokens),
      'n',
    ),
    layout: parts.flatMap((part) => part.layout),
    ...(Object.keys(carries).length === 0 ? {} : { carries }),
    ...(Object.keys(losses).length === 0 ? {} : { losses }),
  };
}

/**
 * A mark behind every row of a grid.
 * @example rowsEndedBy(grid, p.get('newline', 'e', { e: 4096 }))
 */
export function rowsEndedBy(grid: Tensor<'b h w e', Float>, mark: Tensor<'e', Float>, view = 0): VisualTokens {
  const [rows, columns] = [grid.size('h'), grid.size('w')];
  const column = repeat(mark, 'e -> b h w e', { b: grid.sizeOf('b'), h: rows, w: 1 });
  return {
    tokens: rearrange(concat([grid, column], 'w'), 'b h w e -> b n=(h w) e'),
    layout: Array.from({ length: rows }, (_, row): Layout => [
      { role: 'cell', count: columns, view, row },
      { role: 'newline', count: 1, view, row },
    ]).flat(),
  };
}

/**
 * The tokens of one run, for looking at them.
 * @example const first = tokensOfRun(gridTokens(grid), 0) // the first row of cells
 */
export function tokensOfRun({ tokens, layout }: VisualTokens, index: number): Tensor<'b n e', Float> {
  const run = layout[index];
  if (run === undefined)
    throw new OpabiniaError(`the layout has ${layout.length} runs, none of number ${index}`, { op: 'tokensOfRun' });
  return slice(tokens, 'n', { start: tokenCount(layout.slice(0, index)), size: run.count });
}

/** Ids that stand for visual tokens in a prompt; roles that are left out take the id of a cell. */
export type PlaceholderIds = { readonly cell: number } & { readonly [R in TokenRole]?: number };

/**
 * What a picture's placeholder becomes in the prompt's ids: exactly one id for each visual token.
 * @example placeholderSpan(made.layout, { cell: 151_655, newline: 198 })
 */
export function placeholderSpan(layout: Layout, ids: PlaceholderIds): readonly number[] {
  return layout.flatMap((run) => Array.from({ length: run.count }, () => ids[run.role] ?? ids.cell));
}

/**
 * `12×12`, `64 queries`, `24×24 with newlines + separator`.
 * @example describeLayout(made.layout) // 24×24 with newlines
 */
export function describeLayout(layout: Layout): string {
  const parts: string[] = [];
  for (let i = 0; i < layout.length;) {
    const run = layout[i];
    if (run === undefined) break;
    if (run.role !== 'cell') {
      const { role, count } = run;
      parts.push(role === 'query' ? plural(count, role, 'queries') : count === 1 ? role : `${count} ${role}s`);
      i++;
      continue;
    }
    const rest = layout.slice(i);
    const other = rest.findIndex(
      (next) =>
        next.view !== run.view || !(next.role === 'newline' || (next.role === 'cell' && next.count === run.count)),
    );
    const grid = other < 0 ? rest : rest.slice(0, other);
    const rows = grid.filter((next) => next.role === 'cell').length;
    parts.push(`${rows}×${run.count}${grid.length > rows ? ' with newlines' : ''}`);
    i += grid.length;
  }
  return parts.join(' + ');
}
