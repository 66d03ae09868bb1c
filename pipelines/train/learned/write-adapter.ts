// The low-rank additions that a run has learned to a language model, as an adapter of Hugging Face's PEFT (read from its 0.21).
import { join } from 'node:path';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, needFile, resolveModel } from '../../../runtime/checkpoint/hub.ts';
import { streamSafetensors, type TensorToStream } from '../../../runtime/checkpoint/safetensors-stream.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { newFolder } from '../../../runtime/files/new-folder.ts';
import { learnedSource, type Addition, type LearnedSource } from '../run/learned-source.ts';
import { loraPaths } from '../step/lora.ts';
import { adapterConfig } from './adapter-config.ts';
import { held, refuse } from './held-values.ts';
import { learnedStages } from './learned-stages.ts';
import type { TrainedModel, WriteTrained } from './write-trained.ts';
import { requireFields, requirePath } from '../../../dsl/graph/required.ts';

export interface WriteAdapter extends Omit<WriteTrained, 'dtype'> {
  /** Of A and B; default f32, as they are trained. */
  readonly dtype?: 'f32' | 'f16' | undefined;
  /** The language model alone, as transformers finds it: a name on the hub or a directory. By default the model of the recipe. */
  readonly base?: string | undefined;
}

export interface WrittenAdapter extends Pick<TrainedModel, 'stages' | 'averages'> {
  readonly base: string;
  /** That have additions. */
  readonly matrices: number;
  /** Each once, from the smallest on. */
  readonly ranks: readonly number[];
  /** What the run learned besides and an adapter has no place for: of which module, how many tensors. */
  readonly left: ReadonlyMap<string, number>;
}

/** Linear maps of a decoder. */
const linear = /^(?:model\.layers\.\d+\.(?:self_attn|mlp)\.\w+|lm_head)\.weight$/;
/** Its embedding: PEFT keeps what it adds to one in another way. */
const embedding = 'model.embed_tokens.weight';
const head = 'lm_head.weight';

/**
 * Writes `adapter_config.json` and `adapter_model.safetensors`, whole or not at all: A `[r, in]` and B `[out, r]` of every linear map of the
 * language model that has additions, and of its embedding, which are those of the head too where one matrix is both. Those of several stages to one matrix are one of their ranks together, with alpha = r. Throws
 * `OpabiniaError` as `writeTrained`, and for a run that added nothing to the language model.
 * @example await writeAdapter(folder, { out: 'adapter', base: 'owner/name' })
 */
export async function writeAdapter(run: string, options: WriteAdapter): Promise<WrittenAdapter> {
  requirePath('writeAdapter', run, 'the run', "writeAdapter('runs/mine', { out: 'adapter' })");
  requireFields('writeAdapter', options, { out: 'string' }, "writeAdapter('runs/mine', { out: 'adapter' })");
  const { out: wanted, dtype = 'f32', base, ema, note, signal } = options;
  const { recipe, stages, averages } = learnedStages(run, { out: wanted, ema, note });
  const files = modelFiles(resolveModel(recipe.model));
  const model = openCheckpoint(needFile(files.weights, 'model.safetensors', files), { dtype: 'f32' });
  try {
    const source = learnedSource(model, stages);
    try {
      const weights = new Set(source.learned.map(adaptedBy));
      const found = [...weights]
        .filter((path) => linear.test(path) || path === embedding)
        .flatMap((path) => joined(path, source));
      if (found.length === 0)
        throw refuse(
          `${run} added nothing of low rank to the language model's linear maps and embedding`,
          'leave --adapter out: a model directory has all that it learned',
        );
      const modules = [...model.stored.keys()].filter((name) => name.endsWith('.weight')).map(moduleOf);
      const named = base ?? recipe.model;
      // PEFT adds to modules, not to matrices: where one matrix is both ends of a model, both have what it learned.
      const isTied = !model.stored.has(head);
      const adapted = found.flatMap((addition) =>
        isTied && addition.weight === embedding
          ? [addition, { ...addition, weight: head, path: moduleOf(head) }]
          : [addition],
      );
      const config = adapterConfig(named, adapted, modules);
      const tensors = adapted.flatMap((addition) => tensorsOf(addition, dtype));
      await newFolder(wanted, 'runs', async (out) => {
        writeFileAtomic(join(out, 'adapter_config.json'), `${JSON.stringify(config, null, 2)}\n`, { op: 'runs' });
        await streamSafetensors(join(out, 'adapter_model.safetensors'), tensors, { format: 'pt' }, { signal });
      });
      const isThere = new Set(found.map(({ weight }) => weight));
      return {
        base: named,
        matrices: found.length,
        ranks: [...new Set(found.map(({ rank }) => rank))].toSorted((a, b) => a - b),
        left: counted([...weights].filter((path) => source.isWhole(path) || !isThere.has(path))),
        stages: stages.length,
        averages,
      };
    } finally {
      source.close();
    }
  } finally {
    model.close();
  }
}

/** The weight that a tensor of a stage is an addition to, or the tensor itself. */
const adaptedBy = (name: string): string => name.replace(/\.lora_[AB]\.weight$/, '.weight');
const moduleOf = (weight: string): string => weight.slice(0, -'.weight'.length);

interface Joined extends Addition {
  readonly weight: string;
  readonly path: string;
}

/** What all stages added to a matrix as one product: A below A, B beside B, each B times its own alpha / rank. */
function joined(weight: string, source: LearnedSource): readonly Joined[] {
  const all = source.additions(weight);
  const [first, ...more] = all;
  if (first === undefined) return [];
  const path = moduleOf(weight);
  if (more.length === 0) return [{ ...first, weight, path }];
  const rank = all.reduce((sum, own) => sum + own.rank, 0);
  const [rows, columns] = first.shape;
  return [
    {
      weight,
      path,
      rank,
      alpha: rank,
      shape: first.shape,
      narrow: () => {
        const values = new Float32Array(rank * columns);
        let at = 0;
        for (const own of all) {
          values.set(own.narrow(), at);
          at += own.rank * columns;
        }
        return values;
      },
      wide: () => {
        const values = new Float32Array(rows * rank);
        let before = 0;
        for (const own of all) {
          const scale = own.alpha / own.rank;
          own.wide().forEach((value, i) => {
            values[Math.floor(i / own.rank) * rank + before + (i % own.rank)] = scale * value;
          });
          before += own.rank;
        }
        return values;
      },
    },
  ];
}

function tensorsOf({ weight, rank, shape, narrow, wide }: Joined, dtype: 'f32' | 'f16'): readonly TensorToStream[] {
  const { a, b } = loraPaths(weight);
  const stored = dtype === 'f16' ? 'F16' : 'F32';
  const [rows, columns] = shape;
  const tensor = (path: string, of: readonly number[], values: () => Float32Array): TensorToStream => {
    const name = `base_model.model.${path}`;
    return { name, dtype: stored, shape: of, values: async () => held(stored, name, values()) };
  };
  if (weight !== embedding) return [tensor(a, [rank, columns], narrow), tensor(b, [rows, rank], wide)];
  // PEFT looks up columns of its A and multiplies them by its B: W is W + (B·A)ᵀ, so that its A is our B the other way round.
  const root = moduleOf(weight);
  return [
    tensor(`${root}.lora_embedding_A`, [rank, rows], () => transposed(wide(), rows, rank)),
    tensor(`${root}.lora_embedding_B`, [columns, rank], () => transposed(narrow(), rank, columns)),
  ];
}

function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? 0);
}

/** Of a path the part that says where it is: `model.mm_projector`, `vision_tower.0`, `lm_head`. */
function counted(paths: readonly string[]): ReadonlyMap<string, number> {
  const groups = Map.groupBy(paths, (path) => path.split('.').slice(0, -1).slice(0, 2).join('.') || path);
  return new Map([...groups].map(([group, own]) => [group, own.length]));
}
