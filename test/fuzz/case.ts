// One case of the fuzzer: a graph, its feeds, and how it is compiled. Drawn at random, sent to a child process, written to a file and read back.
import fc from 'fast-check';
import { evaluateSize } from '../../dsl/axis/axis.ts';
import { roleOf, type Graph } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { parse } from '../../dsl/text/parse.ts';
import { print } from '../../dsl/text/print.ts';
import { passes } from '../../compiler/passes/index.ts';
import type { Choices, DeviceProfile } from '../../compiler/profile.ts';
import type { Feeds } from '../../runtime/reference/reference.ts';
import { graphArbitrary, type Generated, type GraphOptions } from '../support/generate.ts';
import { attentionSteps, movingSteps, productSteps } from '../support/generate-steps.ts';
import { layerSteps } from '../support/layer-steps.ts';
import { numbersAt } from '../support/parameter-numbers.ts';
import { wideSteps } from '../support/wide-steps.ts';
import { nameOf } from '../../dsl/ops/source.ts';

export type Limits = Partial<
  Pick<
    DeviceProfile,
    'maxBindings' | 'maxBindingBytes' | 'maxGrid' | 'maxWorkgroupThreads' | 'maxWorkgroupBytes' | 'choices'
  >
>;

export interface Setting {
  /** The class of shapes and values that it was drawn from. */
  readonly kind: Kind;
  /** The device as it is, as a desktop GPU, or as one whose subgroups have as many lanes, and matrix units, as the device has. */
  readonly profile: 0 | 1 | 2;
  /** Smaller limits than the device has. */
  readonly limits: Limits;
  /** Names of passes in order; undefined: the standard list. */
  readonly passes: readonly string[] | undefined;
  readonly packing: boolean;
}

export interface FuzzCase extends Setting {
  readonly graph: Graph;
  readonly feeds: CaseFeeds;
}

export interface CaseFeeds {
  readonly inputs: ReadonlyMap<string, Float64Array>;
  readonly params: ReadonlyMap<string, Float64Array>;
  readonly states: ReadonlyMap<string, Float64Array>;
  readonly symbols: ReadonlyMap<string, number>;
}

/** What crosses to the child process: structured clones carry maps and arrays, not graphs. */
export interface Wire extends Setting {
  readonly text: string;
  readonly feeds: CaseFeeds;
}

/** plain: 1, primes, 2^k ± 1. quads: multiples of four, which kernels read as vectors. products: mostly contractions and norms. attention: that, of up to 33 keys. layers: what language models are made of, of quantized weights, with caches. moves: mostly views, joins, gathers. empty: sizes of 0. limits: of the device. bindings: more operands and results than a kernel may bind. nan: some inputs are NaN. wide: over 65,535 workgroups. */
export type Kind =
  | 'plain'
  | 'quads'
  | 'products'
  | 'attention'
  | 'layers'
  | 'moves'
  | 'limits'
  | 'bindings'
  | 'empty'
  | 'nan'
  | 'wide';

interface Class extends GraphOptions {
  readonly weight: number;
}

const quads = [4, 8, 3, 16, 12, 1, 20, 64, 5, 32, 2, 128] as const;
const classes: Record<Kind, Class> = {
  plain: { weight: 22 },
  quads: { weight: 16, sizes: quads },
  products: {
    weight: 22,
    sizes: [4, 8, 17, 5, 33, 12, 64, 16, 9, 36],
    steps: productSteps,
    maxElements: 8192,
    maxNodes: 20,
  },
  attention: {
    weight: 10,
    sizes: [17, 33, 4, 8, 20, 32, 5, 24],
    steps: attentionSteps,
    maxElements: 8192,
    maxNodes: 20,
  },
  layers: {
    weight: 16,
    sizes: [8, 17, 32, 5, 64, 12, 40, 33],
    dtypes: ['f32', 'f16'],
    steps: layerSteps,
    maxElements: 8192,
    maxNodes: 12,
  },
  moves: { weight: 12, sizes: [3, 4, 8, 5, 12, 7, 16, 1], steps: movingSteps },
  limits: { weight: 15, sizes: [3, 4, 8, 17, 33, 5, 64, 1, 12, 127, 257] },
  bindings: { weight: 8, sizes: [3, 4, 8, 5, 12, 16, 1], steps: wideSteps, maxNodes: 80 },
  empty: { weight: 5, sizes: [0, 3, 4, 1, 5, 0, 8], empty: true },
  nan: { weight: 9, sizes: [3, 4, 17, 8, 5, 33, 64, 1], dtypes: ['f32', 'bool', 'f32'] },
  wide: { weight: 0, sizes: [3, 1, 2, 4, 65537, 4194305, 21845], maxElements: 4_300_000, maxNodes: 4, symbols: false },
};

export interface CaseOptions {
  /** One in so many graphs has more elements than 65,535 workgroups take; 0: none. */
  readonly wide?: number;
}

export function caseArbitrary(options: CaseOptions = {}): fc.Arbitrary<FuzzCase> {
  const kinds = Object.entries(classes).map(([kind, shape]) => ({
    weight: kind === 'wide' ? 0 : shape.weight * 20,
    arbitrary: ofKind(kind as Kind, shape),
  }));
  const last = kinds.at(-1);
  if (last !== undefined && options.wide !== undefined && options.wide > 0)
    last.weight = Math.max(1, Math.round(2000 / options.wide));
  return fc.noBias(fc.oneof(...kinds.filter(({ weight }) => weight > 0)));
}

function ofKind(kind: Kind, shape: GraphOptions): fc.Arbitrary<FuzzCase> {
  const number = <T>(...choices: readonly T[]) => fc.constantFrom(...choices);
  const limits: fc.Arbitrary<Limits> =
    kind === 'limits'
      ? fc.record({
          maxBindingBytes: number(256, 512, 1024, 2 ** 20),
          maxGrid: number(65535, 64, 17, 5),
          maxWorkgroupThreads: number(256, 128, 64),
        })
      : kind === 'bindings'
        ? fc.record({ maxBindings: number(8, 10, 16) })
        : fc.constant({});
  const chosen = fc.option(choices, { nil: undefined, freq: 1 });
  const some = fc.option(fc.shuffledSubarray(passes.map((pass) => pass.name)), { nil: undefined, freq: 3 });
  const graph = graphArbitrary(shape);
  return fc
    .record({
      generated: graph,
      profile: number<0 | 1 | 2>(0, 1, 2),
      limits: fc
        .tuple(limits, kind === 'layers' ? layerLimits : fc.constant({}), chosen)
        .map(([own, more, choice]): Limits => ({
          ...own,
          ...more,
          ...(choice === undefined ? {} : { choices: choice }),
        })),
      passes: some,
      packing: number(true, true, false),
      nan: fc.nat({ max: 999 }),
    })
    .map(({ generated, nan, ...setting }) => {
      const made = {
        ...setting,
        kind,
        graph: generated.graph,
        feeds: feedsOf(generated, kind === 'nan' ? nan : undefined),
      };
      Object.defineProperty(made, fc.toStringMethod, { value: () => writeCase(made, []), enumerable: false });
      return made;
    });
}

const layerLimits: fc.Arbitrary<Limits> = fc.record({
  maxBindings: fc.constantFrom(16, 10, 8),
  maxWorkgroupBytes: fc.constantFrom(32768, 16384),
});

/** Where choices start to pay, from never to always: what is measured on one device is not all that may be chosen. */
const choices: fc.Arbitrary<Partial<Choices>> = fc.record(
  {
    fusedTensors: fc.constantFrom(8, 2, 30),
    loadsInPlace: fc.constantFrom(16, 1, 4, 100),
    leastStoredWork: fc.constantFrom(2 ** 24, 0),
    workBeforeProduct: fc.constantFrom(4, 0, 100),
    joinsQuantized: fc.boolean(),
    neighbours: fc.constantFrom(8, 1, 2),
    leastWork: fc.constantFrom(0, 4e6, 1e12),
    absorptionGain: fc.constantFrom(2, 1, 0.01),
    rewrittenBytes: fc.constantFrom(2 ** 30, 100),
    kernelsInDispatch: fc.constantFrom(8, 1, 2),
    narrowWorkgroups: fc.constantFrom(4000, 0),
    loadsUnrolled: fc.constantFrom(2 ** 30, 1, 4, 16),
    storedScores: fc.constantFrom(0, 2 ** 26),
    panelRows: fc.constantFrom(2 ** 30, 1, 4, 128),
    splitProductRows: fc.constantFrom(4, 0, 1, 100),
    splitAttentionRows: fc.constantFrom(1024, 0, 4),
    wideAttentionRows: fc.constantFrom(128, 0, 4),
    rowWorkgroups: fc.constantFrom(512, 1, 16, 5000),
    matrixBlocks: fc.constantFrom(4, 1, 2),
    productWorkgroups: fc.constantFrom(96, 1, 4, 1000),
  },
  { requiredKeys: [] },
);

/** The feeds by name; with `nan`, up to three elements of each f32 input are not numbers. */
function feedsOf({ graph, feeds }: Generated, nan: number | undefined): CaseFeeds {
  const nodes = order(graph);
  const params = new Map(
    nodes
      .filter((node) => roleOf(node) === 'param')
      .map((node) => [nameOf(node), Float64Array.from(feeds.params(nameOf(node)))]),
  );
  // Drivers may take x − x for 0 and x / x for 1 (WGSL lets them assume that NaN does not occur), and Mesa does.
  const cancels = nodes.some(
    (node) =>
      node.op.kind === 'map' &&
      (node.op.name === 'sub' || node.op.name === 'div' || node.op.name === 'mod') &&
      node.inputs[0] === node.inputs[1],
  );
  if (nan === undefined || cancels)
    return { inputs: feeds.inputs, params, states: feeds.states, symbols: feeds.symbols };
  const floats = new Set(nodes.filter((node) => node.op.name === 'input' && node.type.dtype === 'f32').map(nameOf));
  const inputs = new Map(
    [...feeds.inputs].map(([name, values]): [string, Float64Array] => {
      const some = values.slice();
      if (floats.has(name))
        for (let i = 0; i < 1 + (nan % 3); i++) some[(nan * (i + 1)) % Math.max(1, some.length)] = NaN;
      return [name, some];
    }),
  );
  return { inputs, params, states: feeds.states, symbols: feeds.symbols };
}

export function toWire({ graph, ...rest }: FuzzCase): Wire {
  return { ...rest, text: print(graph) };
}

export function fromWire({ text, ...rest }: Wire): FuzzCase {
  return { ...rest, graph: parse(text) };
}

/** The feeds as the interpreter wants them. */
export function asFeeds({ inputs, params, states, symbols }: CaseFeeds): Feeds {
  return { inputs, states, symbols, params: (path) => numbersAt(params, path) };
}

/** The case as a text file: comments that say what was found, the setting and the feeds as JSON in comments, the printed graph. */
export function writeCase({ graph, feeds, ...setting }: FuzzCase, comments: readonly string[]): string {
  const json = (x: unknown): string =>
    JSON.stringify(x, (_key, value: unknown) =>
      typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))
        ? value === 0
          ? '-0'
          : String(value)
        : value,
    );
  const lists = (kind: string, of: ReadonlyMap<string, Float64Array>) =>
    [...of].map(([name, values]) => `#! ${json({ [kind]: name, values: [...values] })}`);
  return [
    ...comments.flatMap((comment) => comment.split('\n')).map((line) => `# ${line}`),
    `#! ${json({ setting })}`,
    `#! ${json({ symbols: Object.fromEntries(feeds.symbols) })}`,
    ...lists('input', feeds.inputs),
    ...lists('param', feeds.params),
    ...lists('state', feeds.states),
    print(graph),
  ].join('\n');
}

interface Line {
  readonly setting?: Setting;
  readonly symbols?: Readonly<Record<string, number>>;
  readonly input?: string;
  readonly param?: string;
  readonly state?: string;
  readonly values?: readonly (number | string)[];
}

/** Reads what `writeCase` wrote. Throws `OpabiniaError` for a graph that does not parse, `TypeError` for a file without a setting. */
export function readCase(text: string): FuzzCase {
  const lines = text
    .split('\n')
    .filter((line) => line.startsWith('#! '))
    .map((line) => JSON.parse(line.slice(3)) as Line);
  const setting = lines.find((line) => line.setting !== undefined)?.setting;
  if (setting === undefined) throw new TypeError('the case has no line with its setting');
  const named = (kind: 'input' | 'param' | 'state') =>
    new Map(
      lines.flatMap((line): [string, Float64Array][] => {
        const name = line[kind];
        return name === undefined ? [] : [[name, Float64Array.from(line.values ?? [], Number)]];
      }),
    );
  const symbols = new Map(lines.flatMap((line) => Object.entries(line.symbols ?? {})));
  // JSON leaves out what is undefined.
  return {
    ...setting,
    passes: setting.passes,
    graph: parse(text),
    feeds: { inputs: named('input'), params: named('param'), states: named('state'), symbols },
  };
}

/** Elements of all tensors of a case, for choosing what ONNX Runtime gets and what a report says. */
export function elementsOf({ graph, feeds }: Pick<FuzzCase, 'graph' | 'feeds'>): number {
  return order(graph).reduce(
    (sum, node) => sum + node.type.axes.reduce((product, axis) => product * evaluateSize(axis.size, feeds.symbols), 1),
    0,
  );
}
