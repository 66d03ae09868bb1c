// A comparison by training from end to end on the device, with few pictures and steps: every preset, what is kept, what fails alone.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../../dsl/error.ts';
import { linear, pixelUnshuffle } from '../../../dsl/index.ts';
import { connector, onlyMap, type AnyConnector } from '../../../models/connectors/connector.ts';
import { gridTokens } from '../../../models/connectors/visual-tokens.ts';
import { deco } from '../../../models/connectors/pooling/deco.ts';
import { sva } from '../../../models/connectors/regions/sva.ts';
import { presetNames } from '../../../pipelines/shapes/scene/scene.ts';
import { compareTrained, type CompareTrainedOptions } from '../../../pipelines/shapes/train/compare-trained.ts';
import { openDevice } from '../../../runtime/device/dawn.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { everything } from '../../support/share.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-trained-'));
let device: Device;
beforeAll(async () => {
  device = await openDevice({ compileAhead: true });
});
afterAll(() => {
  device.close();
  rmSync(root, { recursive: true, force: true });
});

/** Its maps are of a width that it does not expect. */
const mistaken = connector<Record<string, never>>({
  name: 'mistaken',
  title: 'Mistaken',
  paper: 'none',
  year: 2026,
  source: 'here',
  mathematics: ['none'],
  towers: 'many',
  presets: { plain: { config: {}, maps: [[8, 8, 48]], width: 48 } },
  variants: (config) => [config],
  build: () => {
    throw new OpabiniaError("axis 'c' is 64 here and 48 there", { op: 'contract' });
  },
}) as unknown as AnyConnector;

const options = (more: Partial<CompareTrainedOptions> = {}): CompareTrainedOptions => ({
  preset: 'S',
  tokens: 16,
  seeds: 1,
  steps: 2,
  root: join(root, more.preset ?? 'S'),
  scenes: { train: 64, held: 64 },
  device: async () => device,
  stopped: () => false,
  print: () => undefined,
  ...more,
});

const pooling = deco as unknown as AnyConnector;

const controls = ['blind', 'average-pooling', 'resampler', 'oracle'];

describe('a comparison by training', () => {
  test('refuses what cannot be built before anything is trained', async () => {
    const began: string[] = [];
    const never = options({
      root: join(root, 'never'),
      device: async () => {
        began.push('device');
        return device;
      },
      print: (line) => began.push(line),
    });
    const line = /mistaken cannot be built: contract: axis 'c' is 64 here and 48 there/;
    await expect(compareTrained([mistaken], never)).rejects.toThrow(line);
    // One's own is why one asks; of several others the rest goes on, which the next test shows.
    await expect(compareTrained([pooling, mistaken], { ...never, own: [mistaken] })).rejects.toThrow(line);
    await expect(compareTrained([pooling], { ...never, grid: [[{ key: 'Z', value: '2' }]] })).rejects.toThrow(
      /deco Z=2 cannot be built: shapes: deco has no setting 'Z'/,
    );
    expect(began).toEqual([]);
    expect(existsSync(join(root, 'never'))).toBe(false);
  });

  test('is stopped and goes on: the controls, and what fails by itself', { timeout: 600_000 }, async () => {
    let done = 0;
    const lines: string[] = [];
    const print = (line: string): void => {
      lines.push(line);
      if (/of all questions/.test(line)) done++;
    };
    const half = await compareTrained([mistaken, pooling], options({ stopped: () => done === 2, print }));
    expect(half.complete).toBe(false);
    expect(half.results.map(({ variant }) => variant.name)).toEqual(controls.slice(0, 2));
    const before = done;
    const whole = await compareTrained([mistaken, pooling], options({ print }));
    expect(whole.complete).toBe(true);
    expect(whole.failed.map(({ name, reason }) => [name, /axis 'c' is 64/.test(reason)])).toEqual([['mistaken', true]]);
    expect(whole.results.map(({ variant }) => variant.name)).toEqual(controls.toSpliced(3, 0, 'deco'));
    expect(lines).toContain("mistaken cannot be built and is left out: contract: axis 'c' is 64 here and 48 there");
    // Two were trained before and are not again.
    expect(done - before).toBe(3);
    expect(lines.filter((line) => /done before/.test(line))).toHaveLength(2);
    expect(whole.results.slice(0, 2).map(({ runs }) => runs)).toEqual(half.results.map(({ runs }) => runs));
    for (const { runs, parameters } of whole.results) {
      expect(runs[0]?.judged.right).toHaveLength(64 * 8);
      expect(parameters).toBeGreaterThan(0);
    }
    expect(readdirSync(join(root, 'S')).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  test('trains again what was edited under the same name and configuration', { timeout: 600_000 }, async () => {
    /** A linear map of 2 × 2 cells, with `factor` on them. */
    const edited = (factor: number): AnyConnector =>
      connector<Record<string, never>>({
        name: 'edited',
        title: 'Edited',
        paper: 'none',
        year: 2026,
        source: 'here',
        mathematics: ['none'],
        towers: 'one',
        presets: { plain: { config: {}, maps: [[4, 4, 48]], width: 48 } },
        variants: (config) => [config],
        build: (p, maps, _config, { width = 48 }) =>
          gridTokens(linear(p, pixelUnshuffle(onlyMap(maps), 2).mul(factor), 'e', { size: width })),
      }) as unknown as AnyConnector;
    const lines: string[] = [];
    const again = async (factor: number): Promise<readonly string[]> => {
      lines.length = 0;
      const { failed } = await compareTrained([edited(factor)], options({ print: (line) => lines.push(line) }));
      expect(failed).toEqual([]);
      return lines
        .filter((line) => line.startsWith('edited, seed 1'))
        .map((line) => line.replace(/\d.*steps/, 'steps'));
    };
    expect((await again(1)).length).toBe(2);
    expect(await again(1)).toEqual(['edited, seed 1: done before']);
    expect((await again(2)).length).toBe(2);
  });

  // Compiling for M and L takes its time.
  test.runIf(everything).each(presetNames)(
    'of preset %s, with the encoders that lie here, SVA beside the controls',
    { timeout: 1_200_000 },
    async (preset) => {
      const compared = await compareTrained(
        [sva as unknown as AnyConnector],
        options({ preset, root: join(root, `all-${preset}`) }),
      );
      expect(compared.failed).toEqual([]);
      expect(compared.results.map(({ variant }) => variant.name)).toEqual([...controls.slice(0, 3), 'sva', 'oracle']);
      for (const { runs } of compared.results) expect(runs[0]?.judged.right).toHaveLength(64 * 8);
    },
  );
});
