// The main job as a newcomer runs it: with this machine's adapter, and with none.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pictureSize } from '../../examples/demo/picture.ts';

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const script = fileURLToPath(new URL('../../examples/demo/demo.ts', import.meta.url));

function demo(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, ...env } });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (part) => {
      stdout += String(part);
    });
    child.stderr.on('data', (part) => {
      stderr += String(part);
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

describe('npm run demo', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'demo-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('agrees with the interpreter and draws', { timeout: 240_000 }, async () => {
    const out = join(folder, 'gpu.png');
    const { code, stdout, stderr } = await demo(['--out', out]);
    expect(stderr).toMatch(/done\s*$/);
    expect(code).toBe(0);
    for (const output of [
      'encoder_0 +1 × 24 × 24 × 128',
      'encoder_1 +1 × 96 × 96 × 64',
      'tokens +1 × 24 × 24 × 128',
      'attention +1 × 576 × 2',
    ]) {
      expect(stdout).toMatch(new RegExp(`^${output} .* ok$`, 'm'));
    }
    for (const stage of ['canonical', 'load time', 'group, main', 'plan'])
      expect(stdout).toMatch(new RegExp(`^${stage} `, 'm'));
    expect(stdout).toMatch(/^all \d+ +\d+\.\d+ +[\d.]+ G/m);
    expect(stdout).toContain(out);
    const { width, height } = await sharp(out).metadata();
    expect({ width, height }).toEqual(pictureSize(2));
    const asked = stdout.match(/^(Which|What|Is|How).*\? +\w+ +\w+ +(right|wrong)$/gm) ?? [];
    expect(asked).toHaveLength(3);
    expect(asked.filter((line) => line.endsWith('right')).length).toBeGreaterThanOrEqual(2);
  });

  it(
    'does it all on the interpreter where there is no adapter, and says so in one line',
    { timeout: 240_000 },
    async () => {
      const out = join(folder, 'cpu.png');
      const { code, stdout } = await demo(['--out', out], {
        VK_DRIVER_FILES: '/nowhere',
        VK_ICD_FILENAMES: '/nowhere',
      });
      expect(code).toBe(0);
      expect(stdout.match(/^No adapter: .*npm run.*$/gm)).toHaveLength(1);
      expect((await sharp(out).metadata()).width).toBe(pictureSize(2).width);
    },
  );

  it('refuses what is not a photograph with exit code 1', { timeout: 60_000 }, async () => {
    const { code, stderr } = await demo(['--image', script]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/opabinia: decodeImage: .*demo\.ts is not a JPEG, PNG or WebP image/);
  });

  it('refuses a picture so long that no token would show it', { timeout: 60_000 }, async () => {
    const path = join(folder, 'line.png');
    await sharp({ create: { width: 900, height: 9, channels: 3, background: 'red' } })
      .png()
      .toFile(path);
    const { code, stderr } = await demo(['--image', path]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/line\.png is 900 × 9: padded to a square, no token of a 24 × 24 grid shows it/);
  });

  it('says which options there are', { timeout: 60_000 }, async () => {
    const { code, stderr } = await demo(['--picture', 'cat.png']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/--picture[\s\S]*--image/);
    const far = await demo(['--scene', '1000000']);
    expect(far.code).toBe(1);
    expect(far.stderr).toMatch(/--scene 1000000: held-out scenes are 0 to 999999/);
  });
});
