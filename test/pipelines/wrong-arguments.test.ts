// Every function that the package exports, called without arguments or with what it does not take: each says in an error of ours what it
// is to be given. A new export is tried without being named here.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as compiler from '../../compiler/index.ts';
import * as dsl from '../../dsl/index.ts';
import { OpabiniaError, type Tensor } from '../../dsl/index.ts';
import * as face from '../../index.ts';
import * as models from '../../models/index.ts';
import * as pipelines from '../../pipelines/index.ts';
import * as testing from '../../pipelines/testing/index.ts';
import * as runtime from '../../runtime/index.ts';

type Call = (...given: readonly unknown[]) => unknown;

/** What is wrong for every function; those that take nothing, a number or an empty list are below. */
const wrong: readonly (readonly unknown[])[] = [
  [],
  [null],
  [1],
  ['x'],
  [{}],
  [[]],
  [() => 1],
  [null, null],
  [{}, {}, {}],
  ['x', 'y', 'z'],
  [new Map(), new Map(), new Map()],
];

/** What is an answer, and no mistake: nothing given where all is optional, a number for a size, a list or an object of nothing. */
const nothing = ['[]', '[{}]', '[[]]', '[{},{},{}]', 'maps'];
const answered: Readonly<Record<string, readonly string[]>> = {
  // All has a default.
  openDevice: nothing,
  adapterFacts: nothing,
  adamW: nothing,
  lion: nothing,
  muon: nothing,
  sgd: nothing,
  // A number is a size, or a seed.
  evaluateSize: ['[1]'],
  printSize: ['[1]'],
  sizeBound: ['[1]'],
  sizeLeast: ['[1]'],
  sizeSymbols: ['[1]'],
  sizesEqual: ['[1]'],
  randomParams: ['[1]'],
  // Of nothing there is nothing.
  axisOf: ['[[]]'],
  orderFrom: ['[[]]'],
  printAxes: ['[[]]'],
  fixedParams: nothing,
  countParameters: ['[[]]', 'maps'],
  memoryPlan: ['[[]]'],
  profileTable: ['[[]]'],
  checkData: ['[[]]'],
};
/** No name of an op, or none that is near, is an answer too; the CPU takes no options. */
const lenient = new Set(['opByName', 'nearestNames', 'openCpu']);

type Entries = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
const entries: Entries = {
  face,
  models,
  compiler,
  runtime,
  pipelines,
  testing,
};

/** Functions, and what classes have on themselves; `new` is for their own code. */
function calls(entries: Entries): ReadonlyMap<string, Call> {
  const found = new Map<string, Call>();
  const seen = new Set<unknown>();
  for (const [entry, exported] of Object.entries(entries))
    for (const [name, value] of Object.entries(exported)) {
      if (typeof value !== 'function' || seen.has(value)) continue;
      seen.add(value);
      const isClass = Function.prototype.toString.call(value).startsWith('class ');
      if (!isClass) found.set(`${entry} ${name}`, value as Call);
      for (const own of isClass ? Object.getOwnPropertyNames(value) : []) {
        const method: unknown = Reflect.get(value, own);
        if (typeof method === 'function')
          found.set(`${entry} ${name}.${own}`, (...given) => Reflect.apply(method, value, given));
      }
    }
  return found;
}

/** What came of a call, in a word where it is as it should be. */
async function outcome(name: string, call: Call, given: readonly unknown[]): Promise<string | undefined> {
  const label = given[0] instanceof Map ? 'maps' : JSON.stringify(given);
  const isFunction = typeof given[0] === 'function';
  let result: unknown;
  try {
    result = await call(...given);
  } catch (error) {
    // Besides what is wrong, what is expected.
    if (error instanceof OpabiniaError && (error.advice !== undefined || /expected/.test(error.what))) return undefined;
    return `${name}(${isFunction ? 'a function' : label}): ${String(error)}`;
  }
  if (typeof result === 'object' && result !== null && 'close' in result && typeof result.close === 'function')
    result.close();
  const short = name.split(' ')[1] ?? '';
  if (lenient.has(short) || (!isFunction && answered[short]?.includes(label) === true)) return undefined;
  return `${name}(${isFunction ? 'a function' : label}) is taken`;
}

test('each export refuses what it does not take, in words, and writes nothing', { timeout: 120_000 }, async () => {
  const all = calls(entries);
  expect(all.size).toBeGreaterThan(150);
  const [folder, before] = [mkdtempSync(join(tmpdir(), 'opabinia-wrong-')), process.cwd()];
  const failures: string[] = [];
  process.chdir(folder);
  try {
    for (const [name, call] of all)
      for (const given of wrong) failures.push(...((found) => found ?? [])(await list(name, call, given)));
    expect(readdirSync(folder)).toEqual([]);
  } finally {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  }
  expect(failures).toEqual([]);
});

async function list(name: string, call: Call, given: readonly unknown[]): Promise<readonly string[]> {
  const found = await outcome(name, call, given);
  return found === undefined ? [] : [found];
}

test('each function of tensors, where what follows the first tensor is missing or something else: at its line', () => {
  const failures: string[] = [];
  const { trace, randomParams } = dsl;
  for (const [name, call] of calls({ dsl })) {
    for (const rest of [[], [null], [1], ['x'], [{}], [[]], ['d', null], ['d', 'd', 'd'], ['d', {}, {}]])
      for (const isModule of [false, true]) {
        const build = (t: Parameters<Parameters<typeof trace>[1]>[0]): Readonly<Record<string, Tensor>> => {
          const x = t.input('x', 'b h w c', { b: 1, h: 2, w: 2, c: 4 });
          call(...(isModule ? [t.params.at('p')] : []), x, ...rest);
          return { x };
        };
        try {
          trace(randomParams(1), build);
        } catch (error) {
          // Whoever refuses, it is said of the line above.
          const isPlaced =
            error instanceof OpabiniaError && error.place?.startsWith('test/pipelines/wrong-arg') === true;
          if (!isPlaced) failures.push(`${name}(${isModule ? 'p, ' : ''}x, ${JSON.stringify(rest)}): ${String(error)}`);
        }
      }
  }
  expect(failures).toEqual([]);
});
