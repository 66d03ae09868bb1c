// What a kernel reads besides inputs: constants of every dtype, and symbols that stand in an attribute alone.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SymbolValues } from '../../dsl/axis/axis.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { parse } from '../../dsl/text/parse.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';

describe.skipIf(withoutGpu)('sources', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  async function compared(
    graph: Graph,
    inputs: Readonly<Record<string, readonly number[]>>,
    symbols: SymbolValues = new Map(),
  ): Promise<void> {
    const feeds = { inputs: new Map(Object.entries(inputs)), params: () => [], symbols };
    for (const profile of gpu.profiles)
      expect((await judge(gpu, graph, feeds, { profile, passes: [] })).compared).toBeGreaterThan(0);
  }

  test.each<[DType, string]>([
    ['f32', '1 -2.5 3 0.1 7'],
    ['f16', '1 -2.5 3 0.25 7'],
    ['bf16', '1 -2.5 3 0.25 7'],
    ['i32', '1 -2 3 4 -7'],
    ['u32', '1 2 4294967295 4 7'],
    ['bool', '1 0 0 1 1'],
  ])('a constant of %s', async (dtype, values) => {
    await compared(
      parse(
        `graph\n%0 = const values=<${values}> : ${dtype} [n:5]\n%1 = input name=x : f32 [n:5]\n%2 = flip %0 axis=n : ${dtype} [n:5]\n%3 = cast %2 to=f32 : f32 [n:5]\n%4 = add %3 %1 : f32 [n:5]\nreturn y=%4\n`,
      ),
      { x: [4, 3, 2, 1, 0] },
    );
  });

  test.each([0, 7, 10])('a range from %i, which is a symbol that no axis has', async (past) => {
    const graph = parse(
      'graph (past <= 10)\n%0 = input name=x : f32 [n:20]\n%1 = slice %0 axis=n size=8 start=(past) step=1 : f32 [n:8]\nreturn y=%1\n',
    );
    await compared(graph, { x: Array.from({ length: 20 }, (_, i) => i) }, new Map([['past', past]]));
  });
});
