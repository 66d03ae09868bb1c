// Exports that were told to write where the weights are: nothing is lost, and nothing is half there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { exportModels } from '../../pipelines/export/export-models.ts';
import { makeLlava } from '../../examples/make-llava.ts';

const root = join(import.meta.dirname, '../..');
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'opabinia-export-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

/** A graph with 17 MiB of parameters, which get a file of their own. */
function source(): string {
  writeFileSync(
    at('big.ts'),
    `import { randomParams, trace } from ${JSON.stringify(join(root, 'dsl/index.ts'))};
export const params = randomParams(1);
export const graph = trace(params, (t) => ({ y: t.input('x', 'a', { a: 2048 }).add(t.params.get('w', 'b a', { b: 2176, a: 2048 }).at('b', 0)), all: t.params.get('w', 'b a', { b: 2176, a: 2048 }) }));
`,
  );
  return at('big.ts');
}

describe('the file to write', () => {
  test('may not be the source, under its own name or another one', async () => {
    const file = source();
    const before = readFileSync(file, 'utf8');
    linkSync(file, at('second.onnx'));
    await expect(exportModels(file, { onnx: file })).rejects.toThrow(/ends in \.onnx/);
    await expect(exportModels(file, { onnx: at('second.onnx') })).rejects.toThrow(/another name of/);
    expect(readFileSync(file, 'utf8')).toBe(before);
  });

  test('may not be what the source imports', async () => {
    writeFileSync(at('entry.ts'), `export * from ${JSON.stringify(source())};\n`);
    const before = readFileSync(at('big.ts'), 'utf8');
    await expect(exportModels(at('entry.ts'), { onnx: at('big.ts') })).rejects.toThrow(/ends in \.onnx/);
    expect(readFileSync(at('big.ts'), 'utf8')).toBe(before);
  });

  test('may not be a checkpoint, nor a hard link that an earlier export made', async () => {
    const made = makeLlava(at('model'), { seed: 1 });
    const weights = readdirSync(made.directory).filter((name) => name.endsWith('.safetensors'));
    const before = weights.map((name) => readFileSync(join(made.directory, name)));
    // ONNX Runtime reads weights from below the model's folder only: elsewhere they get a second name.
    mkdirSync(at('out'));
    await exportModels(made.directory, { onnx: at('out/m.onnx'), graph: 'decode' });
    const links = readdirSync(at('out')).filter((name) => name.endsWith('.safetensors'));
    expect(links.length).toBeGreaterThan(0);
    for (const name of links) {
      await expect(exportModels(made.directory, { onnx: at(`out/${name}`), graph: 'decode' })).rejects.toThrow(
        /ends in \.onnx/,
      );
      linkSync(at(`out/${name}`), at(`out/${name}.onnx`));
      await expect(exportModels(made.directory, { onnx: at(`out/${name}.onnx`), graph: 'decode' })).rejects.toThrow(
        /another name of/,
      );
    }
    weights.forEach((name, i) => expect(readFileSync(join(made.directory, name))).toEqual(before[i]));
  });

  test('may not be a link', async () => {
    const file = source();
    symlinkSync(at('elsewhere'), at('m.onnx'));
    await expect(exportModels(file, { onnx: at('m.onnx') })).rejects.toThrow(/is a link/);
  });
});

test('killed at any time, the older model is whole or the newer one is', async () => {
  const file = source();
  writeFileSync(at('m.onnx'), 'older');
  for (const wait of [300, 700, 1100, 1500]) {
    const child = spawn(process.execPath, [join(root, 'cli/opabinia.ts'), 'export', file, '--onnx', at('m.onnx')], {
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    setTimeout(() => child.kill('SIGKILL'), wait);
    await ended;
    const bytes = readFileSync(at('m.onnx'));
    // A model of this graph is larger than a kilobyte and ends with its operator sets.
    expect(bytes.toString('latin1') === 'older' || bytes.length > 400).toBe(true);
  }
}, 60_000);
