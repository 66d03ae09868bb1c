// A model whose values overflow f16 says so, with the layer, in place of an answer of noise; in f32 the same model answers.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { NotFiniteError } from '../../pipelines/answer/not-finite.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { openSafetensors } from '../../runtime/checkpoint/safetensors.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import { makeLanguage } from '../support/made-language.ts';
import { withoutGpu } from './compare.ts';

/** The weights of a directory, with those of one name multiplied. */
function scale(directory: string, name: string, factor: number): void {
  for (const shard of readdirSync(directory).filter((file) => file.endsWith('.safetensors'))) {
    const file = openSafetensors(join(directory, shard));
    const tensors = [...file.tensors.values()].map((tensor) => {
      const bytes = new Uint8Array(tensor.bytes);
      file.readInto(tensor.name, bytes);
      const values = new Float32Array(bytes.buffer).map((x) => (tensor.name === name ? x * factor : x));
      return { name: tensor.name, dtype: 'F32' as const, shape: tensor.shape, values };
    });
    file.close();
    writeSafetensors(join(directory, shard), tensors);
  }
}

describe.skipIf(withoutGpu)('values that are not finite', () => {
  const root = mkdtempSync(join(tmpdir(), 'opabinia-finite-'));
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => {
    device.close();
    rmSync(root, { recursive: true });
  });

  async function answer(directory: string, dtype: 'f16' | 'f32'): Promise<number> {
    const model = await openModel(directory, { dtype });
    try {
      const session = await Session.open(model, device, { context: 64 });
      try {
        const running = session.answer({ text: 'what' }, { maxNewTokens: 3 });
        for (;;) {
          // oxlint-disable-next-line no-await-in-loop
          const next = await running.next();
          if (next.done === true) return next.value.tokens.length;
        }
      } finally {
        session.dispose();
      }
    } finally {
      model.close();
    }
  }

  test('the second layer overflows f16: it is named, and f32 is advised; there the model answers', async () => {
    const directory = makeLanguage(join(root, 'layer'), 'llama');
    scale(directory, 'model.layers.1.mlp.down_proj.weight', 3e7);
    const error = await answer(directory, 'f16').catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NotFiniteError);
    expect(error).toMatchObject({ layer: 1 });
    expect(String(error)).toMatch(/overflow in layer 1 of the language model[^]*65,504[^]*--dtype f32/);
    expect(await answer(directory, 'f32')).toBeGreaterThan(0);
  }, 120_000);

  test('weights that are not numbers: what goes into the model is told', async () => {
    const directory = makeLanguage(join(root, 'embedding'), 'llama');
    scale(directory, 'model.embed_tokens.weight', NaN);
    const error = await answer(directory, 'f32').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ layer: -1 });
    expect(String(error)).toMatch(/what goes into the language model is not all numbers[^]*get the weights again/);
  }, 120_000);
});
