// Every example runs on this machine's device, and its outputs are the interpreter's.
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Graph, ParamSource } from '../../dsl/index.ts';
import type { Output } from '../../runtime/program/program.ts';
import { evaluate } from '../../runtime/reference/reference.ts';

interface Example {
  readonly graph: Graph;
  readonly params: ParamSource;
  readonly inputs: Readonly<Record<string, Float32Array>>;
  readonly outputs: Readonly<Record<string, Output>>;
}

const folder = new URL('../../examples/', import.meta.url);
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
// make-checkpoint.ts, make-llava.ts and train-cambrian.ts are tools and a recipe with tests of their own.
const names = readdirSync(folder).filter((name) => name.endsWith('.ts') && !/^(make|train)-/.test(name));
// What each must have printed, besides numbers.
const printed: Readonly<Record<string, RegExp>> = {
  'any-axes.ts': /image \[b:1 h:3 w:3 e:16\] = -?\d[\s\S]*text \[b:1 n:5 e:16\] = -?\d/,
  'connector.ts':
    /two encoders, 4 × 4 and 16 × 16 tokens, to 16 tokens in \d+ kernels on .+:\n[\s\S]*tokens\[0\] = -?\d/,
  'explain.ts':
    /^== trace +\d+ nodes[\s\S]*== canonical[\s\S]*kernel +computes[\s\S]*\n +0 [\s\S]*== memory[\s\S]*measured on .+\n +ms[\s\S]*all \d+ dispatches/,
  'mlp.ts': /2 kernels:\n[\s\S]*y \[b:1 n:6 d:16\] = -?\d/,
  'sva.ts': /kernels once at load[\s\S]*tokens \[b:1 h:6 w:6 e:48\] = -?\d/,
};

afterEach(() => vi.restoreAllMocks());

it('has the examples that the README names', () => expect(names).toEqual(Object.keys(printed)));

describe.each(names)('examples/%s', (name) => {
  const most = name === 'any-axes.ts' ? 75 : 60;
  it(`has less than ${most} lines`, () =>
    expect(readFileSync(new URL(name, folder), 'utf8').trimEnd().split('\n').length).toBeLessThan(most));

  it('prints, and computes what the interpreter does', { timeout: 120_000 }, async () => {
    const lines: string[] = [];
    vi.spyOn(console, 'log').mockImplementation((text: unknown) => {
      lines.push(String(text));
    });
    const example = (await import(new URL(name, folder).href)) as Example;
    expect(lines.join('\n')).toMatch(printed[name] ?? /^$/);
    // README shows what one of them prints on this driver.
    if (name === 'connector.ts' && lines.join('\n').includes('on lavapipe:'))
      expect(readme).toContain(`\`\`\`\n${lines.join('\n')}\n\`\`\``);
    const { outputs } = evaluate(
      example.graph,
      { inputs: new Map(Object.entries(example.inputs)), params: (path, shape) => example.params.read(path, shape) },
      { precision: 'f64' },
    );
    expect(Object.keys(example.outputs)).toEqual([...outputs.keys()]);
    for (const [output, expected] of outputs) {
      const { data = new Float32Array(0), axes } = example.outputs[output] ?? {};
      expect(axes).toEqual(expected.axes);
      expect(data).toHaveLength(expected.data.length);
      const most = expected.data.reduce((largest, v) => Math.max(largest, Math.abs(v)), 1);
      const off = Array.from(data, Number).filter((v, i) => !(Math.abs(v - (expected.data[i] ?? NaN)) <= 2e-5 * most));
      expect(off).toEqual([]);
    }
  });
});
