// `opabinia train` as a person runs it: what is refused before a device is opened.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-train-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('--resume without a run is refused, with the runs that there are', { timeout: 120_000 }, () => {
  const recipe = {
    name: 'mid',
    model: 'nowhere',
    stages: [
      {
        name: 'one',
        data: { file: 'a.jsonl', images: 'images' },
        groups: [{ paths: ['*'], lr: 1 }],
        schedule: { shape: 'constant' },
        batch: 1,
        steps: 1,
        length: 8,
      },
    ],
  };
  const sgd = join(import.meta.dirname, '../../pipelines/train/optimizers/sgd.ts');
  writeFileSync(
    join(folder, 'recipe.ts'),
    `import { sgd } from ${JSON.stringify(sgd)};\nconst { stages, ...rest } = ${JSON.stringify(recipe)};\nexport const recipe = { ...rest, stages: stages.map((one) => ({ ...one, optimizer: sgd() })) };\n`,
  );
  mkdirSync(join(folder, 'runs/middle'), { recursive: true });
  writeFileSync(join(folder, 'runs/middle/config.json'), '{}');
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, '../../cli/opabinia.ts'), 'train', 'recipe.ts', '--resume'],
    { cwd: folder, encoding: 'utf8' },
  );
  expect(stderr).toMatch(
    /there is no run runs\/mid to go on with\n +try leave --resume out[^]*nearest runs are middle/,
  );
  expect(status).toBe(1);
  expect(existsSync(join(folder, 'runs/mid'))).toBe(false);
});

test(
  'what runs writes is refused before anything is read where options do not go together',
  { timeout: 120_000 },
  () => {
    const runs = (...words: readonly string[]): string => {
      const command = [join(import.meta.dirname, '../../cli/opabinia.ts'), 'runs', ...words];
      const { status, stderr } = spawnSync(process.execPath, command, { cwd: folder, encoding: 'utf8' });
      expect(status).toBe(1);
      return stderr;
    };
    expect(runs('--ema')).toMatch(/--ema is of what --out writes\n +try give --out DIR/);
    expect(runs('--out', 'learned', '--base', 'name')).toMatch(/--base is the model that an adapter is for/);
    expect(existsSync(join(folder, 'learned'))).toBe(false);
  },
);
