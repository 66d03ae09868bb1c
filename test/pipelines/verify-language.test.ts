// Golden files of language models feed a graph what it has, and nothing else: backends that compile refuse the rest.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { order, roleOf, type Graph } from '../../dsl/index.ts';
import { symbolsOf } from '../../dsl/graph/symbols.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import { referenceBackend, type Backend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { writeSafetensors, type TensorToStore } from '../../runtime/checkpoint/safetensors-write.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-verify-language-'));
afterAll(() => rmSync(scratch, { recursive: true }));

type Config = Readonly<Record<string, unknown>>;

function changed(
  name: string,
  config: (config: Config) => Config,
  tensor: (tensor: TensorToStore) => TensorToStore | undefined,
): string {
  const source = openCheckpoint(join(import.meta.dirname, `../golden/models/${name}.safetensors`));
  const path = join(scratch, `${name}-${Math.random().toString(36).slice(2)}.safetensors`);
  const metadata = Object.fromEntries(source.metadata);
  const tensors = [...source.stored.values()].flatMap(({ name: own, dtype, shape }) => {
    const values = Array.from(source.tensor(own), Number);
    return tensor({ name: own, dtype, shape, values }) ?? [];
  });
  writeSafetensors(path, tensors, {
    ...metadata,
    config: JSON.stringify(config(JSON.parse(metadata['config'] ?? '{}') as Config)),
  });
  source.close();
  return path;
}

/** The interpreter, as strict about names as the GPU is. */
function strict(): Backend {
  const own = referenceBackend();
  const expectNames = (graph: Graph, inputs: Iterable<string>, symbols: Iterable<string>): void => {
    const leaves = order(graph).filter((node) => roleOf(node) === 'input');
    expect([...inputs].sort()).toEqual([...new Set(leaves.map(nameOf))].sort());
    expect([...symbols].sort()).toEqual(
      symbolsOf(graph, 'test')
        .map(({ name }) => name)
        .sort(),
    );
  };
  return {
    ...own,
    run(graph, source, inputs) {
      expectNames(graph, inputs.keys(), []);
      return own.run(graph, source, inputs);
    },
    async open(graph, source) {
      const opened = await own.open(graph, source);
      return {
        ...opened,
        step(inputs, symbols) {
          expectNames(graph, inputs.keys(), symbols.keys());
          return opened.step(inputs, symbols);
        },
      };
    },
  };
}

/** Outputs of more tokens than one. */
const longer = /^output\.(?!greedy_tokens$|decode_logits$|prefill_logits$)/;

test.each(['sliding_attention', 'full_attention'])('a Gemma 3 whose layers are all of %s', async (kind) => {
  const path = changed(
    'gemma3',
    (config) => ({ ...config, layer_types: Array(Number(config['num_hidden_layers'])).fill(kind) }),
    (tensor) => tensor,
  );
  const rows = await verifyFile(path, strict());
  expect(rows.filter(({ verdict }) => verdict === 'MISSING')).toEqual([]);
});

test('a prompt of one token', async () => {
  const path = changed(
    'qwen2',
    (config) => config,
    (tensor) => {
      if (longer.test(tensor.name) || tensor.name === 'input.inputs_embeds') return undefined;
      const wide = tensor.shape.at(-1) ?? 0;
      if (tensor.name === 'output.prefill_logits')
        return { ...tensor, shape: [1, 1, wide], values: Array.from(tensor.values).slice(0, wide) };
      return tensor.name === 'input.input_ids' ? { ...tensor, shape: [1, 1], values: [7] } : tensor;
    },
  );
  const rows = await verifyFile(path, strict());
  expect(rows.map(({ tensor }) => tensor).sort()).toEqual(['decode_logits', 'greedy_tokens', 'prefill_logits']);
  expect(rows.filter(({ verdict }) => verdict === 'MISSING')).toEqual([]);
});
