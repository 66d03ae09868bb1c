// Kernels compiled on another device before the first run: the driver's cache has them then, and only where it was wished for.
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { adapterFacts } from '../../runtime/device/dawn.ts';
import { inChild } from './child.ts';

const facts = process.env['OPABINIA_NO_GPU'] === '1' ? undefined : await adapterFacts();
/** Mesa's software driver, whose cache is files in a folder of its own, and a thread for the second device. */
const isMesa = facts?.software === true && facts.name === 'lavapipe' && availableParallelism() > 1;

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'opabinia-ahead-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Bytes of the driver's cache after kernels were compiled ahead and before anything ran, and after a run, with what it gave. */
async function compiled(name: string, wish: boolean, ended = false): Promise<readonly [number, number, number]> {
  const folder = JSON.stringify(join(root, name));
  const { said, code } = await inChild(
    `
      import { mkdirSync, readdirSync, statSync } from 'node:fs';
      import { join } from 'node:path';
      process.env['MESA_SHADER_CACHE_DIR'] = ${folder};
      delete process.env['MESA_SHADER_CACHE_DISABLE'];
      mkdirSync(${folder});
      const bytes = () =>
        readdirSync(${folder}, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
      // The driver writes from a thread of its own, after the work is done: until nothing has come for three seconds, or more than was there has.
      const settled = async (more) => {
        let [last, since] = [bytes(), Date.now()];
        for (const start = since; Date.now() - start < 60_000;) {
          await new Promise((done) => setTimeout(done, 100));
          const now = bytes();
          if (now > more) return now;
          if (now !== last) [last, since] = [now, Date.now()];
          else if (more === Infinity && Date.now() - since > 3000) return now;
        }
        return bytes();
      };
      const { compile } = await import('../../compiler/compile.ts');
      const { gelu, randomParams, reduce, trace } = await import('../../dsl/index.ts');
      const { compileAhead } = await import('../../runtime/device/compile-ahead.ts');
      const { deviceProfile, openDevice } = await import('../../runtime/device/dawn.ts');
      const { load } = await import('../../runtime/program/program.ts');
      const device = await openDevice({ compileAhead: ${wish} });
      const graph = trace(randomParams(1), (t) => ({
        y: reduce(gelu(t.input('x', 'n d', { n: 37, d: 41 })), 'n d -> n', 'sum'),
      }));
      const plan = compile(graph, deviceProfile(device));
      const end = new AbortController();
      if (${ended}) end.abort();
      await compileAhead(device, [plan], end.signal);
      const ahead = await settled(Infinity);
      const program = await load(plan, device, randomParams(1));
      const { y } = await program.run({ x: new Float32Array(37 * 41).fill(3) });
      console.log('[' + [ahead, await settled(${wish && !ended} ? Infinity : ahead), y.data[0]].join() + ']');
      device.close();
    `,
    { deadline: 120_000 },
  );
  expect(code, said).toBe(0);
  const [line] = said.split('\n').filter((one) => one.startsWith('['));
  return JSON.parse(line ?? '[]');
}

test.skipIf(!isMesa)(
  'the driver has them before the first run',
  async () => {
    const [ahead, after, y] = await compiled('wished', true);
    expect(ahead).toBeGreaterThan(0);
    expect(after).toBe(ahead);
    // 41 times 3 · Φ(3).
    expect(y).toBeCloseTo(41 * 3 * 0.998650101968, 2);
  },
  200_000,
);

test.skipIf(!isMesa)(
  'nothing is, without the wish or when nobody waits any more',
  async () => {
    for (const [ahead, after, y] of [await compiled('plain', false), await compiled('ended', true, true)]) {
      expect(ahead).toBeLessThan(after);
      expect(y).toBeCloseTo(41 * 3 * 0.998650101968, 2);
    }
  },
  300_000,
);
