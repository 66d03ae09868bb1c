// What a connector is: one value in one file of a folder below this one. Whoever wants all of them reads the folders; there is nothing to register.
import { OpabiniaError, printAxes, printSize, sizesEqual, Tensor, type Float, type Params } from '../../dsl/index.ts';
import { placeIn } from '../../dsl/origin.ts';
import type { Angles } from '../decoders/rope.ts';
import { noteSource } from '../own-source.ts';
import type { PictureSize } from '../sequence/masks.ts';
import type { FeatureMap, Inspect } from '../sequence/regions.ts';
import { tokenCount, type VisualTokens } from './visual-tokens.ts';

/** Rows, columns, channels of a feature map. */
export type MapShape = readonly [rows: number, columns: number, channels: number];

/** A released configuration, with what stood around it. */
export interface Preset<C> {
  readonly config: C;
  /** The maps that its towers gave, in order. */
  readonly maps: readonly MapShape[];
  /** Width of its language model. */
  readonly width: number;
  /** The picture that gives these maps, where the layout depends on its size. */
  readonly picture?: PictureSize | undefined;
  /** Layers of its language model; only where the connector acts inside of it. */
  readonly layers?: number | undefined;
}

/** Activations of one tower beyond the map that a connector is given. Asking for one makes it; what nobody asks for is not computed. */
export interface TowerReadings {
  /** A hidden state as a map, without class tokens. 0 is what enters the first block, −1 the output of the last. */
  hidden(layer: number): FeatureMap;
  /** Class tokens and registers of a hidden state. */
  classTokens(layer: number): Tensor<'b p c', Float>;
  /** Attention weights of the first class token over the patches in a block (0 is the first, −1 the last), by head. */
  classAttention(layer: number): Tensor<'b a n', Float>;
  /** Keys of the patches in a block, by head. */
  keys(layer: number): Tensor<'b n a d', Float>;
  /** Queries and keys of all tokens in a block, class tokens first, all heads side by side. */
  queriesAndKeys(layer: number): { readonly query: Tensor<'b n c', Float>; readonly key: Tensor<'b n c', Float> };
  /** The last hidden state when the map of hidden state `layer` is replaced by another one: for what compresses inside the tower. */
  resume(layer: number, map: FeatureMap): FeatureMap;
}

/** What surrounds a connector. Methods make what they give when they are called, so that a connector gets what it asks for and no more. */
export interface ConnectorContext {
  /** Width of the language model; with a checkpoint it may be left to that. */
  readonly width?: number | undefined;
  /** The embedded question, for connectors that read it. */
  readonly question?: (() => Tensor<'b t e', Float>) | undefined;
  /** Token ids of the question in the connector's own vocabulary (InstructBLIP). */
  readonly questionIds?: (() => Tensor<'b t', 'i32'>) | undefined;
  /** True where a token of the question counts; absent: all do. */
  readonly questionMask?: (() => Tensor<'b t', 'bool'>) | undefined;
  /** Sizes in pixels before padding and tiling, one for each picture of the batch, for layouts that depend on them. */
  readonly pictures?: readonly PictureSize[] | undefined;
  /**
   * Where map k shows its picture and not what that was padded with; absent: everywhere, or as `pictures` say. An input of the graph
   * where pictures differ from run to run.
   */
  readonly shown?: ((k: number) => Tensor<'b h w', 'bool'>) | undefined;
  /** Activations of the tower that gave map k. */
  readonly tower?: ((k: number) => TowerReadings) | undefined;
  readonly inspect?: Inspect | undefined;
}

/** Where an injection stands: layer `layer` of the language model, the `index`-th of those it acts at. */
export interface InjectionPlace {
  readonly layer: number;
  readonly index: number;
}

/** What an injection sees of the language model. */
export interface InjectionState {
  readonly hidden: Tensor<'b s e', Float>;
  /** `carries` of the connector's `VisualTokens`. */
  readonly carried: Readonly<Record<string, Tensor>>;
  /** For each position its visual token, counted from 0 in the sample, or −1. */
  readonly slots: Tensor<'b s', 'i32'>;
  /** For each position the last picture before it, counted from 1 in the sample; 0 where there is none. For connectors that let text see the picture before it. */
  readonly pictures?: (() => Tensor<'b s', 'i32'>) | undefined;
  /** Attention weights of the layer before, of the last position, averaged over the heads; for selections. */
  readonly lastAttention?: (() => Tensor<'b s', Float>) | undefined;
  /** The same of the layer that comes next, if it were run on these hidden states. */
  readonly nextAttention?: (() => Tensor<'b s', Float>) | undefined;
  /** What queries and keys are rotated by at each position. */
  readonly angles?: (() => Angles) | undefined;
}

/** What a connector does inside the language model. */
export interface Injection<C> {
  /** Layers after which it acts, counted from 0; −1 is before the first. `layers`: how many the model has. */
  after(config: C, layers: number): readonly number[];
  /** Whether what `apply` returns stands for the layer that would come next: weights inside layers are the connector's. */
  readonly replaces?: boolean | undefined;
  /** In words, for tables: `hidden states of visual tokens; encoder maps`. */
  readonly reads: string;
  readonly writes: string;
  /** The hidden states that the next layer reads. A selection may return fewer positions, and then says which in `kept`. */
  apply(p: Params, state: InjectionState, config: C, place: InjectionPlace): InjectionResult;
}

export interface InjectionResult {
  readonly hidden: Tensor<'b s e', Float>;
  /** Positions of the input that are left, in order; absent: all. */
  readonly kept?: Tensor<'b s', 'i32'> | undefined;
  /** Whether what is left keeps the positions that it is rotated by (the default), or is numbered anew. */
  readonly renumbered?: boolean | undefined;
  /** False where no later layer may attend; absent: all may be attended to. */
  readonly seen?: Tensor<'b s', 'bool'> | undefined;
}

export interface ConnectorRecord<C> {
  /** Its name on the command line, that of its file. */
  readonly name: string;
  /** What a reader looks it up by: `Honeybee C-Abstractor`. */
  readonly title: string;
  /** arXiv number or address of the paper, or of the code where there is none. */
  readonly paper: string;
  readonly year: number;
  /** Where the released code is: repository and file. */
  readonly source: string;
  /** The mathematics, in at most three lines. */
  readonly mathematics: readonly string[];
  /** Released configurations; the first is the reference setting. */
  readonly presets: Readonly<Record<string, Preset<C>>>;
  /** one: reads the first map alone. many: maps of several towers. views: maps of one tower, of several pictures, tiles, frames or layers. */
  readonly towers: 'one' | 'many' | 'views';
  /**
   * The same connector with its own knobs turned so as to give about `tokens` tokens from such maps; the first map is what counts.
   * Whatever does not fit the maps may be among them: who searches skips what throws. Absent: its token count cannot be chosen.
   */
  variants?(config: C, tokens: number, maps: readonly MapShape[]): readonly C[];
  /** Feature maps to visual tokens. `p` is where its own parameters begin. */
  build(p: Params, maps: readonly FeatureMap[], config: C, context: ConnectorContext): VisualTokens;
  readonly inject?: Injection<C> | undefined;
}

const brand: unique symbol = Symbol('connector');

/** A connector; what `connector` gives. */
export interface Connector<C> extends ConnectorRecord<C> {
  readonly [brand]: true;
}

/** A connector whose configuration is known to itself alone: pass it configs that come from its own `presets` or `variants`. */
export type AnyConnector = Connector<unknown>;

/** A connector with its configuration: what a model takes. Swapping one for another is this value. */
export interface Connect {
  readonly name: string;
  build(p: Params, maps: readonly FeatureMap[], context: ConnectorContext): VisualTokens;
  readonly inject?:
    | {
        after(layers: number): readonly number[];
        apply(p: Params, state: InjectionState, place: InjectionPlace): InjectionResult;
      }
    | undefined;
}

/**
 * Makes a connector. `build` is checked whenever it is called; it throws `OpabiniaError` for no map, maps of different batch or dtype,
 * tokens whose axes are not `b n e` in this order, another batch or width than asked for, and a layout that does not count the tokens.
 * @example
 * const mine = connector<object>({
 *   name: 'mine',
 *   title: 'Mine',
 *   paper: 'not written yet',
 *   year: 2026,
 *   source: 'mine.ts',
 *   mathematics: ['y = W x'],
 *   towers: 'one',
 *   presets: { mine: { config: {}, maps: [[24, 24, 1024]], width: 4096 } },
 *   build: (p, maps, _config, { width = 4096 }) => mapTokens(linear(p, onlyMap(maps), 'c', { size: width })),
 * });
 */
export function connector<C>(record: ConnectorRecord<C>): Connector<C> {
  const { inject } = record;
  // Whoever is given a connector calls it from elsewhere: what it gives wrongly is said of where it is.
  const asked = new Error();
  const made: Connector<C> = {
    ...record,
    [brand]: true,
    build: (p, maps, config, context) => {
      checkMaps(record.name, p, maps);
      const tokens = told(record.name, () => record.build(p, maps, config, context));
      checkTokens({ op: record.name, path: p.path, asked }, tokens, maps, context);
      return tokens;
    },
    ...(inject === undefined
      ? {}
      : { inject: { ...inject, apply: (...given) => told(record.name, () => inject.apply(...given)) } }),
  };
  noteSource(made, connector);
  return made;
}

/** What else than our own errors is thrown while a connector is traced is an error of its code: it is told with its line. */
function told<T>(name: string, trace: () => T): T {
  try {
    return trace();
  } catch (cause) {
    if (cause instanceof OpabiniaError) throw cause;
    const what = cause instanceof Error ? cause.message : String(cause);
    const place = cause instanceof Error ? placeIn(cause.stack ?? '') : undefined;
    throw new OpabiniaError(`it threw while it was traced: ${what}`, { op: name, place, cause });
  }
}

/**
 * A connector in one of its configurations.
 * @example const { tokens, layout } = connect(mine, { side: 12 }).build(p.at('projector'), maps, { width: 4096 })
 */
export function connect<C>(from: Connector<C>, config: C): Connect {
  const { inject } = from;
  return {
    name: from.name,
    build: (p, maps, context) => from.build(p, maps, config, context),
    inject:
      inject === undefined
        ? undefined
        : {
            after: (layers) => inject.after(config, layers),
            apply: (p, state, place) => inject.apply(p, state, config, place),
          },
  };
}

/**
 * Whether a value that a file exports is a connector.
 * @example const found = Object.values(await import(path)).filter((value) => isConnector(value))
 */
export function isConnector(value: unknown): value is AnyConnector {
  return typeof value === 'object' && value !== null && brand in value;
}

/**
 * The only map of a connector that reads one tower.
 * @example const pooled = reduce(onlyMap(maps), 'b h w c -> b c', 'mean')
 */
export function onlyMap(maps: readonly FeatureMap[]): FeatureMap {
  const [map] = maps;
  if (map === undefined) throw new OpabiniaError('there is no feature map', { op: 'connector' });
  return map;
}

/**
 * Part `name` of a context. Throws `OpabiniaError` where the model around the connector does not give it.
 * @example const question = required(context, 'question', 'mine')() // Tensor<'b t e'>
 */
export function required<K extends keyof ConnectorContext>(
  context: ConnectorContext,
  name: K,
  by: string,
): NonNullable<ConnectorContext[K]> {
  const value = context[name];
  if (value === undefined || value === null)
    throw new OpabiniaError(`${by} reads '${name}', and the context has none`, {
      op: 'connector',
      advice: `give it in the context: { ${name}: … }`,
    });
  return value;
}

/**
 * Part `name` of what an injection sees. Throws `OpabiniaError` where the language model does not give it.
 * @example const attention = requiredState(state, 'lastAttention', 'mine')() // Tensor<'b s'>
 */
export function requiredState<K extends keyof InjectionState>(
  state: InjectionState,
  name: K,
  by: string,
): NonNullable<InjectionState[K]> {
  const value = state[name];
  if (value === undefined || value === null)
    throw new OpabiniaError(`${by} reads '${name}' of the language model, which does not give it`, {
      op: 'inject',
      advice: `give it in the state: { ${name}: … }`,
    });
  return value;
}

function checkMaps(op: string, p: Params, maps: readonly FeatureMap[]): void {
  const [first] = maps;
  const refuse = (what: string, advice: string) => new OpabiniaError(what, { op, path: p.path, advice });
  if (first === undefined) throw refuse('there is no feature map', 'give one for each encoder');
  for (const [k, map] of maps.entries()) {
    if (!sizesEqual(map.sizeOf('b'), first.sizeOf('b')))
      throw refuse(
        `map ${k} has a batch of ${printSize(map.sizeOf('b'))}, and map 0 one of ${printSize(first.sizeOf('b'))}`,
        'the maps show the same pictures: give each the same b',
      );
    if (map.dtype !== first.dtype)
      throw refuse(`map ${k} is ${map.dtype}, and map 0 is ${first.dtype}`, 'cast one of them');
  }
}

function checkTokens(
  { op, path, asked }: { readonly op: string; readonly path: string; readonly asked: Error },
  made: VisualTokens,
  maps: readonly FeatureMap[],
  context: ConnectorContext,
): void {
  const of = (made as Partial<VisualTokens> | undefined)?.tokens;
  const refuse = (what: string, advice: string) => {
    // The line that made the tokens, where it is one of the connector's own file.
    const [own, last] = [
      placeIn(asked.stack ?? '', [import.meta.url]),
      of instanceof Tensor ? of.node.origin.place : undefined,
    ];
    const fileOf = (place?: string): string | undefined => place?.replace(/:\d+$/, '');
    return new OpabiniaError(what, { op, path, place: fileOf(last) === fileOf(own) ? last : own, advice });
  };
  // What TypeScript was told to believe, or a file of JavaScript.
  if (!(of instanceof Tensor) || !Array.isArray(made.layout))
    throw refuse('it gave no tokens with their layout', 'return what gridTokens, queryTokens or mapTokens make');
  const { tokens, layout } = made;
  const names = tokens.axes.map((axis) => axis.name).join(' ');
  if (names !== 'b n e')
    throw refuse(
      `the tokens are ${printAxes(tokens.axes)}, and a connector gives 'b n e'`,
      "batch, token, channel: rearrange(tokens, '… -> b n e')",
    );
  const batch = maps[0]?.sizeOf('b') ?? 0;
  if (!sizesEqual(tokens.sizeOf('b'), batch))
    throw refuse(
      `the tokens have a batch of ${printSize(tokens.sizeOf('b'))}, and the maps one of ${printSize(batch)}`,
      'keep b apart from the tokens',
    );
  if (context.width !== undefined && tokens.size('e') !== context.width)
    throw refuse(
      `the tokens are ${tokens.size('e')} wide, and the language model ${context.width}`,
      'the last map of a connector gives context.width channels',
    );
  for (const [name, loss] of Object.entries(made.losses ?? {}))
    if (!(loss instanceof Tensor) || loss.axes.length > 0 || (loss.dtype !== 'f32' && loss.dtype !== 'f16'))
      throw refuse(`its loss '${name}' is not one float`, 'reduce it over all its axes, over the pictures by the mean');
  if (tokenCount(layout) !== tokens.size('n'))
    throw refuse(
      `the layout has ${tokenCount(layout)} tokens, and there are ${tokens.size('n')}`,
      'make both together with gridTokens, queryTokens, rowsEndedBy or joinTokens',
    );
}
