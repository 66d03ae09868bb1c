// Every golden file of Cambrian's own code passes on the reference interpreter, and what is wrong does not.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { kinds } from '../../pipelines/verify/kinds.ts';
import { verify, verifyFile } from '../../pipelines/verify/verify.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';

const folder = join(import.meta.dirname, '../golden/cambrian');
const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-golden-'));
afterAll(() => rmSync(scratch, { recursive: true }));

interface Changes {
  readonly metadata?: (metadata: Record<string, string>) => Record<string, string>;
  readonly rename?: (name: string) => string;
  readonly values?: (name: string, values: number[]) => number[];
}

/** A copy of a golden file with something changed. */
function changed(name: string, changes: Changes): string {
  const source = openCheckpoint(join(folder, name));
  const path = join(scratch, `${Math.random().toString(36).slice(2)}.safetensors`);
  const tensors = [...source.stored.values()].map(({ name: tensor, dtype, shape }) => {
    const values = Array.from(source.tensor(tensor), Number);
    return {
      name: changes.rename?.(tensor) ?? tensor,
      dtype,
      shape,
      values: changes.values?.(tensor, values) ?? values,
    };
  });
  const metadata = Object.fromEntries(source.metadata);
  writeSafetensors(path, tensors, changes.metadata?.(metadata) ?? metadata);
  source.close();
  return path;
}

const withConfig =
  (change: (config: Record<string, unknown>) => Record<string, unknown>) =>
  (metadata: Record<string, string>): Record<string, string> => ({
    ...metadata,
    config: JSON.stringify(change(JSON.parse(metadata['config'] ?? '{}') as Record<string, unknown>)),
  });

async function verdicts(path: string): Promise<Map<string, string>> {
  return new Map((await verifyFile(path, referenceBackend())).map((row) => [row.tensor, row.verdict]));
}

describe('golden files', () => {
  test('they are there', () => expect(files.length).toBeGreaterThanOrEqual(22));

  test.each(files)(
    '%s',
    async (name) => {
      const rows = await verifyFile(join(folder, name), referenceBackend());
      expect(rows.length).toBeGreaterThan(0);
      expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
    },
    60_000,
  );

  test('the whole path covers intermediates: connector, final features, hidden states of every layer', async () => {
    const names = [...(await verdicts(join(folder, 'inllm_inference.safetensors'))).keys()];
    for (const name of [
      'inter.mm_projector_aux_1',
      'inter.vision_sampler_0',
      'inter.mm_projector_input',
      'final_kv_1',
      'final_global_context',
      'inputs_embeds',
      'hidden_06',
    ])
      expect(names).toContain(name);
  });
});

describe('what is wrong is found', () => {
  test('a weight that is off by a thousandth', async () => {
    const path = changed('sva_layer_a.safetensors', {
      values: (name, values) => (name === 'pos_embed_2' ? values.map((v, i) => (i === 5 ? v + 1e-3 * 50 : v)) : values),
    });
    const found = await verdicts(path);
    expect(found.get('queries')).toBe('WRONG');
    expect(found.get('inter.cross_attn.k_proj_2')).toBe('WRONG');
    expect(found.get('inter.cross_attn.k_proj_1')).toBe('ok');
  });

  test('masks of another picture', async () => {
    const path = changed('connector_g1_inference.safetensors', {
      values: (name, values) => (name === 'input.image_sizes_wh' ? [640, 427, 500, 500] : values),
    });
    expect([...(await verdicts(path)).values()]).toContain('WRONG');
  });

  test('NaN where a number was expected', async () => {
    const path = changed('sva_layer_c_small_variance.safetensors', {
      values: (name, values) => (name === 'norm.bias' ? values.map(() => NaN) : values),
    });
    expect((await verdicts(path)).get('queries')).toBe('WRONG');
  });

  test('an output that the model does not have', async () => {
    const path = changed('sampler_d1.safetensors', {
      rename: (name) => (name === 'output.queries' ? 'output.quarries' : name),
    });
    expect((await verdicts(path)).get('quarries')).toBe('MISSING');
  });

  test('a file without outputs verifies nothing, and says so', async () => {
    const path = changed('baseline_linear.safetensors', { rename: (name) => name.replace('output.', 'input.other_') });
    const lines: string[] = [];
    expect(await verify([path], { backend: 'reference' }, (text) => lines.push(text))).toBe(false);
  });

  test.each<[string, Changes, RegExp]>([
    [
      'an unknown kind',
      { metadata: withConfig((config) => ({ ...config, kind: 'VisionTokenSampled' })) },
      /unknown kind 'VisionTokenSampled'[^]*VisionTokenSampler/,
    ],
    ['no kind', { metadata: withConfig(({ kind: _, ...config }) => config) }, /has no 'kind'/],
    ['no config', { metadata: () => ({}) }, /no config/],
    ['a config that is not JSON', { metadata: () => ({ config: '{' }) }, /not JSON/],
    ['a config without a needed value', { metadata: withConfig(({ D: _, ...config }) => config) }, /has no 'D'/],
    ['more layers than the file has', { metadata: withConfig((config) => ({ ...config, D: 4 })) }, /layers\.3/],
    ['fewer layers than the file has', { metadata: withConfig((config) => ({ ...config, D: 1 })) }, /layers\.1/],
    [
      'a misspelt weight',
      { rename: (name) => name.replace('layers.0.norm.weight', 'layers.0.norm.wieght') },
      /layers\.0\.norm\.wieght/,
    ],
  ])('%s', async (_what, changes, message) => {
    await expect(verifyFile(changed('sampler_d3.safetensors', changes), referenceBackend())).rejects.toThrow(message);
  });

  test('one bad file does not keep the others from being checked', async () => {
    const bad = changed('sampler_d1.safetensors', {
      metadata: withConfig((config) => ({ ...config, kind: 'nothing' })),
    });
    const lines: string[] = [];
    expect(
      await verify([bad, join(folder, 'sampler_d1.safetensors'), '/nonexistent'], { backend: 'reference' }, (text) =>
        lines.push(text),
      ),
    ).toBe(false);
    const text = lines.join('\n');
    expect(text).toMatch(/unknown kind 'nothing'/);
    expect(text).toMatch(/queries +\[9 1 64\] .* ok/);
    expect(text).toMatch(/nonexistent/);
  });

  test('a mistake of ours in one file does not either, and is reported in the end', async () => {
    const crash = vi.spyOn(kinds, 'get').mockReturnValueOnce(() => {
      throw new RangeError('out of bounds');
    });
    const lines: string[] = [];
    const path = join(folder, 'sampler_d1.safetensors');
    await expect(verify([path, path], { backend: 'reference' }, (text) => lines.push(text))).rejects.toThrow(
      new RangeError('out of bounds'),
    );
    crash.mockRestore();
    expect(lines.join('\n')).toMatch(/RangeError: out of bounds[^]*queries +\[9 1 64\] .* ok/);
  });

  test('unknown backends and dtypes', async () => {
    await expect(verify([], { backend: 'cuda' }, () => undefined)).rejects.toThrow(/gpu, reference or onnx/);
    await expect(verify([], { backend: 'reference', dtype: 'f64' }, () => undefined)).rejects.toThrow(/f32 or f16/);
  });

  test('__metadata__.kind comes before the kind in the config', async () => {
    const path = changed('sampler_d1.safetensors', {
      metadata: (metadata) => ({ ...metadata, kind: 'VisionCrossAttentionLayer' }),
    });
    await expect(verifyFile(path, referenceBackend())).rejects.toThrow(/proj_context/);
  });
});
