// States that are written over where they are read: as the interpreter has it, in as few kernels as can be, and never where another element is read.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import {
  rearrange,
  reduce,
  flip,
  trace,
  fixedParams,
  where,
  type Graph,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { load } from '../../runtime/program/program.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

type Matrix = Tensor<'o i', 'f32'>;

interface Case {
  readonly build: (
    t: Trace,
    state: (name: string, sizes?: readonly [number, number]) => Matrix,
  ) => Readonly<Record<string, Tensor>>;
  /** Dispatches of a run. */
  readonly dispatches: number;
  /** Bytes of a binding at most, where a state is to take several. */
  readonly piece?: number;
}

const cases: Readonly<Record<string, Case>> = {
  'a parameter with two moments is one kernel': {
    dispatches: 1,
    build: (t, state) => {
      const [x, m, v] = [state('x'), state('m'), state('v')];
      const g = t.input('g', 'o i', { o: 5, i: 7 });
      const [m2, v2] = [m.mul(0.9).add(g.mul(0.1)), v.mul(0.99).add(g.mul(g).mul(0.01))];
      t.update(m, m2);
      t.update(v, v2);
      t.update(x, x.sub(m2.div(v2.add(1e-3)).mul(0.1)));
      return {};
    },
  },
  'a parameter with a moment, each in two bindings': {
    dispatches: 1,
    piece: 512,
    build: (t, state) => {
      const [x, m] = [state('x', [12, 12]), state('m', [12, 12])];
      const m2 = m.mul(0.9).add(x.mul(0.1));
      t.update(m, m2);
      t.update(x, x.sub(m2.mul(0.1)));
      return {};
    },
  },
  'a value that another state takes too': {
    dispatches: 1,
    build: (t, state) => {
      const [x, e] = [state('x', [4, 8]), state('e', [4, 8])];
      const next = x.mul(0.5).add(1);
      t.update(x, next);
      t.update(e, e.mul(0.9).add(next.mul(0.1)));
      return {};
    },
  },
  'a mask of one element for all': {
    dispatches: 2,
    build: (t, state) => {
      const x = state('x');
      const g = t.input('g', 'o i', { o: 5, i: 7 });
      const fits = reduce(g.mul(g), 'o i ->', 'sum').lt(1e9);
      t.update(x, where(fits, x.sub(g), x));
      return {};
    },
  },
  'another kernel reads the state before': {
    dispatches: 2,
    build: (t, state) => {
      const x = state('x');
      const sums = reduce(x, 'o i -> o', 'sum');
      t.update(x, x.mul(2).add(1));
      return { sums };
    },
  },
  'other elements of the state are read: set aside': {
    dispatches: 2,
    build: (t, state) => {
      const x = state('x', [6, 6]);
      t.update(x, x.add(rearrange(flip(x, 'o'), 'o i -> o i')));
      return {};
    },
  },
  'two states trade places': {
    dispatches: 4,
    build: (t, state) => {
      const [x, y] = [state('x'), state('y')];
      t.update(x, y.mul(2));
      t.update(y, x.mul(3));
      return {};
    },
  },
  'the new value is an output too': {
    dispatches: 2,
    build: (t, state) => {
      const x = state('x');
      const next = x.add(1);
      t.update(x, next);
      return { next };
    },
  },
};

function graphOf({ build }: Case): Graph {
  return trace(fixedParams({}), (t) => build(t, (name, [o, i] = [5, 7]) => t.state(name, 'o i', { o, i })));
}

const numbers = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.fround(Math.sin(7.1 * i + seed)));

describe('updates in place', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => device.close());

  test.each(Object.entries(cases))('%s', { timeout: 120_000 }, async (_name, one) => {
    const graph = graphOf(one);
    const own = deviceProfile(device);
    // One kernel a dispatch on every device: what is counted is how often something is copied.
    const choices = { ...own.choices, kernelsInDispatch: 1 };
    const profile = { ...own, choices, maxBindingBytes: one.piece ?? own.maxBindingBytes };
    const plan = compile(graph, profile, { verify: true });
    expect(plan.dispatches).toHaveLength(one.dispatches);
    if (one.piece !== undefined) expect(plan.dispatches[0]?.bindings.length).toBeGreaterThan(plan.states.length);
    const sizes = new Map(plan.states.map((state) => [state.name, state.axes.map((axis) => Number(axis.size))]));
    const first = new Map(
      [...sizes].map(([name, shape], k) => [
        name,
        numbers(
          shape.reduce((a, b) => a * b, 1),
          k,
        ),
      ]),
    );
    const program = await load(plan, device, fixedParams({}), {
      states: { has: (name) => first.has(name), read: (name) => Float32Array.from(first.get(name) ?? []) },
    });
    try {
      let states: ReadonlyMap<string, ArrayLike<number>> = first;
      const inputs = Object.fromEntries(plan.inputs.map(({ name }) => [name, Float32Array.from(numbers(35, 9))]));
      for (let run = 0; run < 3; run++) {
        const expected = evaluate(
          graph,
          { inputs: new Map(Object.entries(inputs)), states, params: () => [] },
          { precision: 'f32' },
        );
        const outputs = await program.run(inputs);
        for (const [name, { data }] of expected.outputs)
          Array.from(data).forEach((value, i) => expect(outputs[name]?.data[i]).toBeCloseTo(value, 4));
        ({ states } = expected);
        for (const name of sizes.keys()) {
          const { data: now } = await program.readState(name);
          Array.from(states.get(name) ?? []).forEach((value, i) => expect(now[i]).toBeCloseTo(value, 4));
        }
      }
    } finally {
      program.dispose();
    }
  });
});
