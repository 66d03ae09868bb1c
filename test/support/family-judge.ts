// Greedy tokens of any opened model by the interpreter, which reads the whole sequence anew for each: no cache and no decode step.
import type { LaidOut, Question } from '../../pipelines/answer/family.ts';
import type { OpenedModel } from '../../pipelines/answer/open-model.ts';
import { toPrompts } from '../../pipelines/answer/prompts.ts';
import { sortedSymbols } from '../../dsl/graph/symbols.ts';
import type { Graph } from '../../dsl/index.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

export interface Judged {
  readonly tokens: readonly number[];
  /** Of each token, before the next likeliest. */
  readonly leads: readonly number[];
  /** Of the first token. */
  readonly logits: readonly number[];
}

/** Tokens of one question, in f64. */
export async function judgeFamily(model: OpenedModel, question: Question, steps: number): Promise<Judged> {
  const { family, source } = model;
  let laid = await family.layOut([question], {});
  const capacity = laid.width + steps + 1;
  const sizes = {
    batch: 1,
    capacity,
    promptLimit: capacity - 1,
    imageLimit: Math.max(1, laid.pictures),
    draw: 'greedy',
  } as const;
  const params = (path: string, shape: readonly number[]) => source.read(path, shape);
  const run = (
    graph: Graph,
    inputs: object,
    symbols: Readonly<Record<string, number>>,
    states: ReadonlyMap<string, ArrayLike<number>>,
  ) => {
    const known = new Set(sortedSymbols(graph, 'run').map(({ name }) => name));
    return evaluate(
      graph,
      {
        inputs: new Map(Object.entries(inputs) as [string, ArrayLike<number>][]),
        params,
        states,
        symbols: new Map(Object.entries(symbols).filter(([name]) => known.has(name))),
      },
      { precision: 'f64' },
    );
  };
  let states: ReadonlyMap<string, ArrayLike<number>> = new Map();
  const look = family.vision?.(sizes);
  for (const { graph, inputs, symbols } of laid.views) {
    const own = graph?.make(sizes) ?? look;
    if (own !== undefined) ({ states } = run(own, inputs(), symbols, states));
  }
  const read = family.prefill(sizes);
  const [tokens, leads, first]: [number[], number[], number[]] = [[], [], []];
  while (tokens.length < steps) {
    const { inputs, symbols } = toPrompts(model, laid, 1, 'greedy', {});
    const logits = Array.from(run(read, inputs, symbols, states).outputs.get('logits')?.data ?? []);
    const [best = NaN, second = NaN] = [...logits].sort((a, b) => b - a);
    if (tokens.length === 0) first.push(...logits);
    leads.push(best - second);
    tokens.push(logits.indexOf(best));
    laid = longer(laid, logits.indexOf(best));
  }
  return { tokens, leads, logits: first };
}

/** The prompt with one token of the answer behind it. */
function longer(laid: LaidOut, token: number): LaidOut {
  const width = laid.width + 1;
  const rows = Object.entries(laid.rows).map(([name, { values, otherwise }]) => {
    const all = new Int32Array(width).fill(otherwise);
    all.set(values);
    if (name === 'ids') all[width - 1] = token;
    // Positions of text count on.
    if (name.startsWith('place_')) all[width - 1] = (values.at(-1) ?? -1) + 1;
    return [name, { values: all, otherwise }] as const;
  });
  return { ...laid, width, lengths: Int32Array.of(width), rows: Object.fromEntries(rows) };
}
