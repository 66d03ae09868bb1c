// Comparing connectors before anything runs: names, files, budgets, figures, tables, plots, the page.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { deviceNamed, devices } from '../../compiler/devices.ts';
import { desktopGpu } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { compareConnectors, type Comparison } from '../../pipelines/compare/compare.ts';
import { connectorsPage } from '../../pipelines/compare/print/document.ts';
import { cambrianEncoders, encodersNamed } from '../../pipelines/compare/encoders.ts';
import { languageModelNamed, prefillFlops } from '../../pipelines/compare/language-models.ts';
import { labelled } from '../../pipelines/compare/print/label-places.ts';
import { comparisonSvg } from '../../pipelines/compare/print/plot.ts';
import { comparisonCsv, comparisonJson, printComparison } from '../../pipelines/compare/print/print-comparison.ts';
import { listed, zoo } from '../../pipelines/compare/registry.ts';
import { keepsOf, sightOf } from '../../pipelines/compare/sight/sight.ts';

const byPlace = (a: { x: number; y: number; name: string }, b: typeof a) =>
  a.x - b.x || a.y - b.y || a.name.localeCompare(b.name);

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-compare-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const model = languageModelNamed('llama-3-8b');
const options = {
  encoders: cambrianEncoders,
  model,
  profile: desktopGpu,
  dtype: 'f16' as const,
  question: 64,
  look: false,
};
const of = async (names: readonly string[], more: object = {}): Promise<Comparison> =>
  compareConnectors(await listed(names), { ...options, ...more });

/** A file outside the project that imports the sources. */
function ownFile(name: string, text: string): string {
  const path = join(scratch, name);
  const root = join(import.meta.dirname, '../..');
  writeFileSync(path, text.replaceAll('@', root));
  return path;
}

const own = (build: string) => `
import { linear } from '@/dsl/index.ts';
import { connector, onlyMap } from '@/models/connectors/connector.ts';
import { mapTokens } from '@/models/connectors/visual-tokens.ts';
export const mine = connector({
  name: 'mine', title: 'Mine', paper: 'https://example.org', year: 2026, source: 'mine.ts', mathematics: ['y = W x'],
  towers: 'one', presets: { one: { config: {}, maps: [[24, 24, 1024]], width: 4096 } },
  build: (p, maps, config, { width }) => { ${build} },
});`;

describe('what is asked for', () => {
  test('an op that refuses is told with the connector and the line', async () => {
    const file = ownFile(
      'wrong line.ts',
      own('return mapTokens(linear(p, pixelUnshuffle(onlyMap(maps), 5), "e", { size: width }));').replace(
        '{ linear }',
        '{ linear, pixelUnshuffle }',
      ),
    );
    const { refused } = await of([file]);
    expect(refused.map(({ reason }) => reason.message)).toEqual([expect.stringMatching(/'mine'[^]*wrong line\.ts:8/)]);
  });

  test("the mark of a pattern stays below it, and the connector's name stands in the first line", async () => {
    const file = ownFile(
      'wrong pattern.ts',
      own('return mapTokens(rearrange(onlyMap(maps), "b h w c -> b h w") as never);').replace(
        '{ linear }',
        '{ linear, rearrange }',
      ),
    );
    const { refused } = await of([file]);
    expect(refused[0]?.reason.message.split('\n').slice(0, 3)).toEqual([
      "rearrange: axis 'c' is dropped, in the connector 'mine'",
      '  b h w c -> b h w',
      '        ^',
    ]);
  });

  test('all of the zoo, or some of it by name', async () => {
    expect((await listed([])).length).toBe((await zoo()).length);
    expect((await listed(['llava', 'deco'])).map(({ connector }) => connector.name)).toEqual(['llava', 'deco']);
  });

  test('each once, though an index beside the folders exports all, as the built package has one', async () => {
    const folder = join(scratch, 'zoo');
    const root = join(import.meta.dirname, '../..');
    mkdirSync(join(folder, 'pooling'), { recursive: true });
    writeFileSync(
      join(folder, 'pooling/deco.ts'),
      `export { deco } from '${root}/models/connectors/pooling/deco.ts';\n`,
    );
    writeFileSync(join(folder, 'index.ts'), "export { deco } from './pooling/deco.ts';\n");
    const found = await zoo(pathToFileURL(`${folder}/`));
    expect(found.map(({ family, connector }) => [family, connector.name])).toEqual([['pooling', 'deco']]);
  });

  test('unknown names, with the nearest', async () => {
    await expect(listed(['lava'])).rejects.toThrow(/no connector 'lava'[^]*llava/);
    expect(() => encodersNamed(['clip-l-33'])).toThrow(/no encoder 'clip-l-33'[^]*clip-l-336/);
    expect(() => encodersNamed([])).toThrow(/no encoder/);
    // What is far is no advice: what there is, is.
    expect(() => encodersNamed(['nope'])).toThrow(/no encoder 'nope'\n {2}try there are clip-l-336, /);
    expect(() => languageModelNamed('gpt')).toThrow(/no language model 'gpt'\n {2}try there are llama-3-8b, /);
    await expect(listed(['xyzzy'])).rejects.toThrow(/no connector 'xyzzy'\n {2}try `opabinia compare` lists all/);
    expect(() => deviceNamed('h300')).toThrow(/no device 'h300'[^]*h100/);
    expect(() => deviceNamed('toString')).toThrow(/no device/);
    expect(() => languageModelNamed('llama-3-7b')).toThrow(/no language model 'llama-3-7b'[^]*llama-3-8b/);
    expect(() => languageModelNamed('constructor')).toThrow(/no language model/);
  });

  test("a file of one's own", async () => {
    const path = ownFile('mine.ts', own("return mapTokens(linear(p, onlyMap(maps), 'c', { size: width }))"));
    const { rows } = await of([path], { look: true });
    // One matrix of 4096 × 1024 and its bias, read for 576 patches.
    expect(rows[0]?.cost).toMatchObject({
      tokensIn: 576,
      tokensOut: 576,
      parameters: 4096 * 1024 + 4096,
      trained: 4096 * 1024 + 4096,
    });
    expect(rows[0]?.keeps).toEqual({ grid: true, order: true, regions: true });
  });

  test('a file that is not there, does not load, or exports no connector', async () => {
    await expect(listed(['./nothing-here.ts'])).rejects.toThrow(/no file .*nothing-here\.ts/);
    await expect(listed([ownFile('broken.ts', 'export const = 3;')])).rejects.toThrow(/does not load/);
    await expect(listed([ownFile('empty.ts', 'export const mine = 3;')])).rejects.toThrow(/exports no connector/);
  });

  test('one that throws while it is traced: its line', async () => {
    const path = ownFile('throws.ts', own("throw new TypeError('oh')"));
    const { rows, refused } = await of([path]);
    expect(rows).toEqual([]);
    expect(refused[0]?.reason.message).toMatch(/mine: it threw while it was traced: oh[^]*at {2}.*throws\.ts:8/);
  });

  test('one that throws inside the language model: its line', async () => {
    const inside = "inject: { after: () => [0], reads: 'x', writes: 'x', apply: () => { throw new TypeError('oh') } },";
    const text = own("return mapTokens(linear(p, onlyMap(maps), 'c', { size: width }))");
    const path = ownFile('inside.ts', text.replace("towers: 'one',", `towers: 'one', ${inside}`));
    const { refused } = await of([path]);
    expect(refused[0]?.reason.message).toMatch(/mine: it threw while it was traced: oh[^]*at {2}.*inside\.ts:7/);
  });

  test('one whose regions do not divide the grid: the nearest grids that do', async () => {
    const build = "return mapTokens(linear(p, spaceToDepth(onlyMap(maps), 5), 'c', { size: width }))";
    const more = "import { spaceToDepth } from '@/models/parts/space-to-depth.ts';";
    const path = ownFile('regions.ts', `${more}${own(build)}`);
    expect((await of([path])).refused[0]?.reason.message).toMatch(
      /24×24 does not divide into squares of 5×5[^]*20×20 and 25×25/,
    );
  });

  test('one that returns another order of axes', async () => {
    const path = ownFile(
      'order.ts',
      own("const t = mapTokens(onlyMap(maps)); return { ...t, tokens: rearrange(t.tokens, 'b n e -> b e n') }").replace(
        '{ linear }',
        '{ linear, rearrange }',
      ),
    );
    expect((await of([path])).refused[0]?.reason.message).toMatch(/a connector gives 'b n e'/);
  });
});

describe('figures', () => {
  test("LLaVA's MLP is what its two matrices are", async () => {
    const { rows } = await of(['llava']);
    const [c, h, n] = [1024, 4096, 576];
    const parameters = c * h + h + h * h + h;
    const products = 2 * n * (c * h + h * h);
    expect(rows[0]?.cost.parameters).toBe(parameters);
    // Products, and a few operations an element for biases and GELU.
    expect(rows[0]?.cost.forward).toBeGreaterThanOrEqual(products);
    expect(rows[0]?.cost.forward).toBeLessThanOrEqual(products + 40 * n * h);
    // Backward: a product for each weight, and one for the gradient of what stands between the two.
    const back = 2 * n * (c * h + h * h) + 2 * n * h * h;
    expect(rows[0]?.cost.backward).toBeGreaterThanOrEqual(back);
    expect(rows[0]?.cost.backward).toBeLessThanOrEqual(back * 1.05);
    // A step holds the gradients, in f16 as the arithmetic is, and beside them no more than the inner activations, their slopes and gradients.
    expect(rows[0]?.cost.peakTraining).toBeGreaterThanOrEqual(2 * parameters);
    expect(rows[0]?.cost.peakTraining).toBeLessThanOrEqual(2 * parameters + 3 * 2 * n * h);
    expect(rows[0]?.cost.peakInference).toBeLessThanOrEqual(rows[0]?.cost.peakTraining ?? 0);
  });

  test('a step of one that acts inside the language model holds the gradients of all its layers', async () => {
    const { rows } = await of(['qwen3-vl-deepstack', 'pyramiddrop'], { model: { ...options.model, width: 512 } });
    expect(rows).toHaveLength(2);
    for (const { cost } of rows) {
      expect(cost.injected.length).toBeGreaterThan(0);
      expect(cost.peakTraining).toBeGreaterThanOrEqual(2 * cost.trained);
      expect(cost.peakTraining).toBeLessThanOrEqual(2 * cost.trained + 20 * cost.peakInference);
    }
  });

  test('training holds at least what a forward run does', async () => {
    const { rows } = await of(['deepseek-ocr', 'deepseek-vl-hybrid'], { encoders: cambrianEncoders });
    expect(rows).toHaveLength(2);
    for (const { cost } of rows) expect(cost.peakTraining).toBeGreaterThanOrEqual(cost.peakInference);
  });

  test('prefill: two FLOP for each parameter and token, and causal attention', () => {
    // Llama 3 8B's layers: 32 · (2 · 4096² + 2 · 4096 · 1024 + 3 · 4096 · 14336 + 2 · 4096)
    const layers = 32 * (2 * 4096 ** 2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096);
    expect(model.layerParameters * model.layers).toBe(layers);
    const t = 144;
    const tokens = Array.from({ length: 32 }, () => t);
    expect(prefillFlops(model, tokens)).toBe(2 * layers * t + 32 * 2 * 4096 * t * t);
  });

  test('several towers are read whole, or on a shared grid where they must be', async () => {
    const { rows } = await of(['eagle', 'prismatic', 'llava']);
    const read = (maps: readonly (readonly number[])[]) => maps.reduce((sum, [h = 0, w = 0]) => sum + h * w, 0);
    expect(rows.map(({ cost }) => cost.tokensIn)).toEqual([
      read(cambrianEncoders.map(({ map }) => map)),
      read(cambrianEncoders.map(({ map }) => map)),
      576,
    ]);
  });
});

describe('budgets', () => {
  test('knobs are turned to the variant that is nearest', async () => {
    const { rows } = await of(['deco', 'internvl', 'mobilevlm-ldpv2', 'matryoshka'], { tokens: 64 });
    expect(rows.map(({ cost }) => cost.tokensOut)).toEqual([64, 64, 64, 64]);
    expect(rows[1]?.note).toBe('merge 2 → 3');
  });

  test('encoders whose grids leave no choice are read on a shared one', async () => {
    const { rows } = await of(['sva'], { tokens: 144 });
    // Twelve rows of twelve, each ended by a newline.
    expect(rows[0]?.cost.tokensOut).toBe(12 * 13);
    expect(rows[0]?.note).toContain('encoders on a shared grid');
  }, 120_000);

  test('a budget that no variant meets: the nearest is told', async () => {
    const { rows, refused } = await of(['llava'], { tokens: 64 });
    expect(rows).toEqual([]);
    expect(refused[0]?.reason).toBeInstanceOf(OpabiniaError);
    expect(refused[0]?.reason.message).toMatch(/llava has no variant near 64 tokens[^]*576/);
  });

  test("a grid that the reference setting does not divide: the connector's own knobs are turned", async () => {
    const { rows } = await of(['internvl'], { encoders: encodersNamed(['siglip-so400m-384']) });
    expect(rows[0]?.cost.tokensOut).toBe(81);
    expect(rows[0]?.note).toBe('merge 2 → 3');
  });
});

describe('what tokens see', () => {
  test('a square of patches, and nothing else', async () => {
    const [one] = await listed(['internvl']);
    const sight = one === undefined ? undefined : sightOf(one.connector, [4]);
    const seen = sight?.weights.map((own) => [...own].flatMap((x, cell) => (x > 0 ? [cell] : [])));
    expect(seen).toEqual([
      [0, 1, 4, 5],
      [2, 3, 6, 7],
      [8, 9, 12, 13],
      [10, 11, 14, 15],
    ]);
  });

  test('order without a grid, a grid without order, nothing', () => {
    const eye = (order: readonly number[]) =>
      order.map((cell) => Float64Array.from({ length: 16 }, (_, i) => Number(i === cell)));
    const layout = (role: 'cell' | 'query') => [{ role, count: 16 }] as const;
    const inOrder = Array.from({ length: 16 }, (_, i) => i);
    const sight = { rows: 4, columns: 4 };
    expect(keepsOf({ ...sight, layout: layout('query'), weights: eye(inOrder) })).toEqual({
      grid: false,
      order: true,
      regions: true,
    });
    expect(keepsOf({ ...sight, layout: layout('cell'), weights: eye(inOrder.toReversed()) })).toEqual({
      grid: false,
      order: false,
      regions: true,
    });
    const all = inOrder.map(() => new Float64Array(16).fill(1));
    expect(keepsOf({ ...sight, layout: layout('query'), weights: all })).toEqual({
      grid: false,
      order: false,
      regions: false,
    });
  });
});

describe('what is printed', () => {
  const names = ['llava', 'deco', 'phi-3-v', 'idefics3'];

  test('a table, CSV and JSON say the same', async () => {
    const comparison = await of([...names, 'mof']);
    const table = printComparison(comparison);
    const csv = comparisonCsv(comparison).split('\n');
    const json = JSON.parse(JSON.stringify(comparisonJson(comparison))) as {
      connectors: { connector: string; tokensOut: number }[];
    };
    expect(csv).toHaveLength(1 + comparison.rows.length);
    for (const [i, row] of comparison.rows.entries()) {
      const { name } = row.listed.connector;
      expect(table).toContain(name);
      expect(csv[i + 1]?.startsWith(`${name},`)).toBe(true);
      expect(json.connectors[i]).toMatchObject({ connector: name, tokensOut: row.cost.tokensOut });
    }
  });

  test('a plot has every name once, inside its frame, none over another', async () => {
    const svg = comparisonSvg(await of(names));
    const labels = [...svg.matchAll(/<text x="([\d.]+)" y="([\d.]+)" fill="[^"]*">([^<]*)</g)].map(
      ([, x, y, text = '']) => ({
        x: Number(x),
        y: Number(y),
        text,
      }),
    );
    expect(labels.map(({ text }) => text).toSorted()).toEqual(names.toSorted());
    for (const a of labels)
      for (const b of labels)
        if (a !== b)
          expect(Math.abs(a.y - b.y) >= 13 || a.x + 6 * a.text.length < b.x || b.x + 6 * b.text.length < a.x).toBe(
            true,
          );
  });

  test('what acts in the language model alone, and gives no tokens, is said to', async () => {
    const svg = comparisonSvg(await of(['llava', 'idefics']));
    expect(
      [...svg.matchAll(/fill="[^"]*">((?:llava|idefics)[^<]*)</g)]
        .map(([, text = '']) => text)
        .toSorted((a, b) => a.localeCompare(b)),
    ).toEqual(['idefics (no tokens)', 'llava']);
  });

  test('one of a thing is one', async () => {
    const page = connectorsPage(await listed(['siglip-map-head']));
    expect(page).toContain('1 connector between');
    expect(page).toContain('→ 1 token (1 query), ');
  });

  test('of marks that hide one another, the uppermost says how many', async () => {
    const svg = comparisonSvg(await of(['llava', 'vip-llava', 'deco']));
    expect([...svg.matchAll(/font-size="9" fill="white">(\d+)</g)].map(([, count]) => count)).toEqual(['2']);
  });

  test('names of a crowd lie inside the frame, and none covers another, a mark or a line of another', () => {
    const frame = { x: 0, y: 0, w: 1300, h: 800 };
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            x: fc.integer({ min: 350, max: 950 }),
            y: fc.integer({ min: 250, max: 550 }),
            name: fc.constantFrom('llava', 'honeybee-c-abstractor', 'mqt'),
          }),
          { minLength: 1, maxLength: 25 },
        ),
        (marks) => {
          const blocks = labelled(marks, frame);
          expect(blocks.flatMap(({ names }) => names.map(({ mark }) => mark)).toSorted(byPlace)).toEqual(
            marks.toSorted(byPlace),
          );
          const names = blocks.flatMap((block) => block.names);
          for (const { mark, x, y } of names) {
            const right = x + 6 * mark.name.length;
            expect(x >= 0 && right <= frame.w && y - 9 >= 0 && y <= frame.h).toBe(true);
            for (const other of marks)
              expect(other.x > x && other.x < right && other.y > y - 9 && other.y < y).toBe(false);
            for (const other of names)
              if (other.mark !== mark)
                expect(
                  Math.abs(other.y - y) >= 13 || other.x >= right || x >= other.x + 6 * other.mark.name.length,
                ).toBe(true);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  test('devices say where their speeds are from', () => {
    for (const { source, profile } of Object.values(devices)) {
      expect(source.length).toBeGreaterThan(10);
      expect(profile.flopsPerSecond).toBeGreaterThan(0);
    }
  });
});

describe('the page', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/connectors.md'), 'utf8');

  test('has a section for each connector, with its mathematics', async () => {
    for (const { connector } of await zoo()) {
      const section = page.split(`\n### ${connector.title}\n`)[1]?.split('\n### ')[0] ?? '';
      expect(section, connector.name).toContain(`\`${connector.name}\``);
      for (const line of connector.mathematics) expect(section, connector.name).toContain(line);
    }
  });

  // All of it, though it takes a while: a change of the compiler moves figures of connectors that nobody thought of.
  test('is what the connectors give', async () => {
    expect(page, 'npx opabinia compare --document docs/connectors.md').toBe(connectorsPage(await zoo()));
  }, 600_000);
});
