// Golden kinds of the language models: prefill with intermediates, then eight greedy steps with a key-value cache.
import { order, roleOf, trace, type Graph, type ParamSource, type Tensor, type Trace } from '../../../dsl/index.ts';
import { symbolsOf } from '../../../dsl/graph/symbols.ts';
import { nameOf } from '../../../dsl/ops/source.ts';
import { isLegacyBuffer, turnGraph, turnTables } from '../../../models/decoders/turn-graph.ts';
import {
  decoderLayers,
  embedTokens,
  finalNorm,
  logitsOf,
  openTurn,
  type LanguageModel,
} from '../../../models/decoders/decoder.ts';
import { decoderTypes } from '../../../models/decoders/families.ts';
import { crossesLength } from '../../../models/decoders/rope.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import { modelTolerance, type Tolerance } from '../verdict.ts';
import type { GoldenFile } from '../golden-file.ts';
import type { Outputs, Step } from '../backends.ts';
import type { Conversation, GoldenModel, Kind } from '../kind.ts';

const kind =
  (read: (json: unknown, name: string) => LanguageModel): Kind =>
  (file) => {
    const model = read(JSON.parse(file.checkpoint.metadata.get('config') ?? 'null'), file.path);
    return languageGolden(file, model, weightsOf(file));
  };

/** Prefill, decode steps and greedy tokens of one model. `source` has its weights, and nothing that it does not read. */
export function languageGolden(file: GoldenFile, model: LanguageModel, source: ParamSource): GoldenModel {
  const feeds = new Map<string, Numbers>();
  const outputs: Record<string, Tensor> = {};
  const graph = trace(
    source,
    (t) => {
      for (const pass of passesOf(file)) run(t, file, model, pass, feeds, outputs);
      return outputs;
    },
    { unread: [...(source.names() ?? [])].filter(isLegacyBuffer) },
  );
  return {
    graph,
    inputs: asked(graph, feeds),
    host: new Map(),
    tolerance,
    exact: (name) => name === 'greedy_tokens',
    source,
    conversations: conversations(file, model, source).map(({ graph: own, hold }) => ({
      graph: own,
      hold: (step) => hold((inputs, symbols) => step(asked(own, inputs), askedSymbols(own, symbols))),
    })),
  };
}

/** The inputs that a graph has: one whose layers all slide has no tables of full ones, and the other way round. */
function asked(graph: Graph, inputs: ReadonlyMap<string, Numbers>): ReadonlyMap<string, Numbers> {
  const names = new Set(
    order(graph)
      .filter((node) => roleOf(node) === 'input')
      .map(nameOf),
  );
  return new Map([...inputs].filter(([name]) => names.has(name)));
}

/** The symbols that a graph has: one of single tokens has none for their number. */
function askedSymbols(graph: Graph, symbols: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  const names = new Set(symbolsOf(graph, 'verify').map(({ name }) => name));
  return new Map([...symbols].filter(([name]) => names.has(name)));
}

/** Kinds by the model type of the config. */
export const languageModels: readonly (readonly [string, Kind])[] = Object.entries(decoderTypes).map(
  ([type, { read }]) => [type, kind(read)],
);

/** The reference rounds large angles to f32; exact ones differ from it legitimately. */
function tolerance(output: string): Tolerance {
  if (output === 'greedy_tokens') return { absolute: 0, relative: 0 };
  return output.startsWith('far.') ? { absolute: 2e-3, relative: 2e-3 } : modelTolerance;
}

/** One forward pass of the whole prompt that the file has outputs of. */
interface Pass {
  /** Before the names of its outputs and of our inputs: `far.`, `long.`, or nothing. */
  readonly prefix: string;
  readonly input: string;
  readonly embedded: boolean;
  readonly logits: string;
}

function passesOf(file: GoldenFile): readonly Pass[] {
  const named = (text: string): string => text.slice(0, -1);
  const passes = file.outputs
    .filter((name) => name.endsWith('prefill_logits'))
    .map((logits): Pass => {
      const prefix = logits.slice(0, -'prefill_logits'.length);
      const own = `input.${named(prefix)}_input_ids`;
      return { prefix, logits, embedded: false, input: prefix !== '' && file.has(own) ? own : 'input.input_ids' };
    });
  if (!file.has('input.inputs_embeds')) return passes;
  return [
    ...passes,
    { prefix: 'embeds.', logits: 'inputs_embeds_logits', embedded: true, input: 'input.inputs_embeds' },
  ];
}

function positionsOf(file: GoldenFile, { prefix, input }: Pass): readonly number[] {
  const own = `input.${prefix.replace('.', '_')}position_ids`;
  if (file.has(own)) return file.numbers(own);
  const [rows, length] = [file.size(input, 0), file.size(input, 1)];
  return Array.from({ length: rows * length }, (_, i) => i % length);
}

function run(
  t: Trace,
  file: GoldenFile,
  model: LanguageModel,
  pass: Pass,
  feeds: Map<string, Numbers>,
  outputs: Record<string, Tensor>,
): void {
  const { config } = model;
  const [b, s] = [file.size(pass.input, 0), file.size(pass.input, 1)];
  const wanted = new Set(file.outputs);
  const take = (name: string, value: Tensor): void => {
    if (wanted.has(name)) outputs[name] = value;
  };
  const name = `${pass.prefix}${pass.embedded ? 'states' : 'ids'}`;
  feeds.set(name, file.numbers(pass.input));
  const tables = Object.entries(turnTables(config, positionsOf(file, pass)));
  for (const [table, values] of tables) feeds.set(pass.prefix + table, values);
  const start = pass.embedded
    ? t.input(name, 'b s e', { b, s, e: config.hidden }, file.dtype)
    : embedTokens(t.params, config, t.input(name, 'b s', { b, s }, 'i32'));
  const turn = openTurn(t, config, {
    batch: b,
    length: s,
    prefix: pass.prefix,
    inspect: (path, value) => {
      if (path === 'model.layers.0.self_attn.key') take(`${pass.prefix}layer0_k_rope`, value);
      if (path === 'model.layers.0.self_attn.value') take(`${pass.prefix}layer0_v`, value);
    },
  });
  const decoder = decoderLayers(t.params.at('model'), model, turn);
  const states = [start];
  for (let i = 0; i < decoder.layers; i++) states.push(decoder.layer(states[i] ?? start, i));
  const normed = finalNorm(t.params, config, states.at(-1) ?? start);
  take(`${pass.prefix}embeddings`, start);
  take(`${pass.prefix}block0`, states[1] ?? start);
  take(`${pass.prefix}penultimate`, states.at(-2) ?? start);
  take(`${pass.prefix}final_norm`, normed);
  take(pass.logits, logitsOf(t.params, config, normed));
}

/**
 * The greedy steps, twice: a graph of any length reads the prompt and goes on, and gives the tokens; the graph of single tokens reads
 * the prompt one by one and goes on with the tokens of the file, and gives the logits. Where rotations change with the length of the
 * sequence, both read all tokens again when it comes to that; `keptcache.` is what comes of keeping the keys, which is wrong.
 */
function conversations(file: GoldenFile, model: LanguageModel, source: ParamSource): readonly Conversation[] {
  if (!file.has('output.greedy_tokens') && !file.has('output.decode_logits')) return [];
  const prompt = file.numbers('input.input_ids');
  const steps = file.has('output.decode_logits')
    ? file.size('output.decode_logits', 0)
    : file.size('output.greedy_tokens', 0) - 1;
  const longest = prompt.length + steps;
  const crosses = (past: number, length: number): boolean => crossesLength(model.config.rope, past, length);
  const promptLimit = crosses(prompt.length, longest) ? longest : prompt.length;
  // The bounds of both symbols of a turn must fit together.
  const sizes = { batch: 1, capacity: promptLimit + longest };
  const feeds = (ids: readonly number[], past: number, length: number) =>
    new Map<string, Numbers>([
      ['ids', ids],
      ...Object.entries(
        turnTables(
          model.config,
          ids.map((_, i) => past + i),
          length,
        ),
      ),
    ]);
  const graphs = {
    turn: turnGraph(source, model, { ...sizes, promptLimit }),
    decode: turnGraph(source, model, { ...sizes, promptLimit: 1 }),
  };
  const readOne =
    (step: Step, all: readonly number[]) =>
    async (past: number, length: number): Promise<ArrayLike<number>> => {
      const read = await step(feeds([all[past] ?? 0], past, length), new Map([['past', past]]));
      return read.get('logits') ?? [];
    };
  const logits =
    (name: string, again: (past: number, length: number) => boolean) =>
    async (step: Step): Promise<Outputs> => {
      const all = [...prompt, ...file.numbers('output.greedy_tokens').slice(0, steps)];
      const read = readOne(step, all);
      const rows: ArrayLike<number>[] = [];
      for (let past = 0; past < all.length; past++) {
        const length = Math.max(prompt.length, past + 1);
        if (past >= prompt.length && again(past, length))
          for (let earlier = 0; earlier < past; earlier++) await read(earlier, length);
        rows.push(await read(past, length));
      }
      return new Map([[name, rows.slice(prompt.length).flatMap((row) => Array.from(row))]]);
    };
  const kept = 'keptcache.decode_logits';
  return [
    {
      graph: graphs.turn,
      hold: async (step) => {
        const all = [...prompt];
        for (let past = 0; all.length <= longest;) {
          if (crosses(past, all.length)) past = 0;
          const ids = all.slice(past);
          const symbols = new Map([
            ['past', past],
            ['s', ids.length],
          ]);
          past = all.length;
          all.push((await step(feeds(ids, all.length - ids.length, all.length), symbols)).get('token')?.[0] ?? -1);
        }
        return new Map([['greedy_tokens', all.slice(prompt.length)]]);
      },
    },
    { graph: graphs.decode, hold: logits('decode_logits', crosses) },
    ...(file.has(`output.${kept}`) ? [{ graph: graphs.decode, hold: logits(kept, () => false) }] : []),
  ];
}

/** The file's weights without its inputs and outputs, which are not parameters that a model leaves unread. */
export function weightsOf(file: GoldenFile): ParamSource {
  const { checkpoint } = file;
  return {
    dtype: checkpoint.dtype,
    shape: (path) => checkpoint.shape(path),
    read: (path, shape) => checkpoint.read(path, shape),
    names: () => [...checkpoint.stored.keys()].filter((name) => !/^(input|output)\./.test(name)),
  };
}
