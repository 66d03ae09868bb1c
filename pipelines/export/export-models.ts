// `opabinia export FILE.ts|DIR --onnx OUT`: graphs of a source file, or of a model directory, as ONNX models. Weights of a checkpoint stay in its files.
import { towerMap } from '../../models/towers/tower-map.ts';
import { fixedElements } from '../../dsl/axis/axes.ts';
import { existsSync, linkSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, extname, join, relative, resolve, sep } from 'node:path';
import { exportOnnx } from '../../compiler/export/onnx.ts';
import { type OnnxModel, type StoredWeight, type Weights } from '../../compiler/export/onnx-model.ts';
import { nearestNames, OpabiniaError, randomParams, trace, type Graph, type ParamSource } from '../../dsl/index.ts';
import { roleOf } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { readConfig } from '../../models/configs/read.ts';
import { nativeSide, towerPixels, type TowerConfig } from '../../models/configs/towers.ts';
import { AtomicFile } from '../../runtime/files/atomic-file.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { modelFiles, needFile, readJsonFile, resolveModel } from '../../runtime/checkpoint/hub.ts';
import { openSafetensors } from '../../runtime/checkpoint/safetensors.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { openModel } from '../answer/open-model.ts';
import { importOwn } from '../own-module.ts';
import { requireFields, requirePath } from '../../dsl/graph/required.ts';
import { checkFolder } from '../../runtime/files/make-folder.ts';

export interface ExportCommand {
  readonly onnx: string;
  readonly plain?: boolean | undefined;
  /** One graph of several; all when absent. */
  readonly graph?: string | undefined;
  readonly dtype?: string | undefined;
  readonly batch?: number | undefined;
  /** Tokens that the cache holds, and of the longest prompt. */
  readonly context?: number | undefined;
  readonly prompt?: number | undefined;
  readonly images?: number | undefined;
  /** Of a model that was assembled with a connector of your own. */
  readonly connectors?: readonly AnyConnector[] | undefined;
}

export interface Exported {
  readonly name: string;
  readonly path: string;
  readonly model: OnnxModel;
}

/** What can be exported: graphs by name, and where their parameters are. */
interface Exportable {
  readonly graphs: ReadonlyMap<string, () => Graph>;
  readonly source: ParamSource;
  /** Safetensors files, each with the path its tensors have in the graphs. */
  readonly files: readonly { readonly root: string; readonly path: string }[];
  readonly close: () => void;
}

/** Parameters of a source file that fit into the model file; more of them get a file of their own. */
const embedded = 16 * 2 ** 20;

/**
 * Writes one model for each graph. Throws `OpabiniaError`, for instance for a graph that ONNX has no operators for.
 * @example await exportModels('connector.onnx-source', { onnx: 'out.onnx' })
 */
export async function exportModels(what: string, command: ExportCommand): Promise<readonly Exported[]> {
  const call = "exportModels('mine.ts', { onnx: 'out.onnx' })";
  requirePath('exportModels', what, 'what is exported', call);
  requireFields('exportModels', command, { onnx: 'string' }, call);
  const out = resolve(command.onnx);
  // A source file imports others, which nobody lists: the ending keeps models away from sources.
  if (extname(out).toLowerCase() !== '.onnx')
    throw new OpabiniaError(`--onnx is '${command.onnx}'`, { op: 'export', advice: 'a file that ends in .onnx' });
  if (statSync(dirname(out), { throwIfNoEntry: false })?.isDirectory() !== true)
    throw new OpabiniaError(`there is no directory ${dirname(out)}`, { op: 'export', advice: 'make it first' });
  checkFolder(dirname(out), 'export');
  const opened =
    statSync(what, { throwIfNoEntry: false })?.isFile() === true
      ? await openSource(what)
      : await openDirectory(what, command);
  try {
    const names = [...opened.graphs.keys()];
    if (command.graph !== undefined && !opened.graphs.has(command.graph))
      throw new OpabiniaError(`${what} has no graph '${command.graph}'`, {
        op: 'export',
        advice: `it has ${nearestNames(command.graph, names, names.length).join(', ')}`,
      });
    const chosen = command.graph === undefined ? names : [command.graph];
    const places = placesOf(opened.files, out);
    const inputs = [what, ...opened.files.flatMap(({ path }) => [path, ...shardsOf(path)])];
    return chosen.map((name): Exported => {
      const path =
        chosen.length === 1 ? out : `${out.slice(0, out.length - extname(out).length)}.${name}${extname(out)}`;
      const graph = opened.graphs.get(name)?.() ?? { outputs: new Map(), updates: [] };
      const own = opened.files.length > 0 ? undefined : ownWeights(graph, opened.source, path, inputs);
      const weights = own ?? {
        read: opened.source.read.bind(opened.source),
        placeOf: (parameter: string) => places.get(parameter),
      };
      try {
        const options = { weights, plain: command.plain ?? false, name: `${basename(what)} ${name}` };
        const model = exportOnnx(graph, options);
        const file = new AtomicFile(path, { inputs, op: 'export' });
        file.write(model.bytes);
        // The weights first: a model never names a file that is not there.
        own?.file?.commit();
        file.commit();
        return { name, path, model };
      } finally {
        own?.file?.abort();
      }
    });
  } finally {
    opened.close();
  }
}

// ---- source files ----------------------------------------------------------------------------------------------------

function isGraph(value: unknown): value is Graph {
  return (
    typeof value === 'object' &&
    value !== null &&
    'outputs' in value &&
    value.outputs instanceof Map &&
    'updates' in value &&
    Array.isArray(value.updates)
  );
}

function isSource(value: unknown): value is ParamSource {
  return (
    typeof value === 'object' &&
    value !== null &&
    'read' in value &&
    typeof value.read === 'function' &&
    'shape' in value &&
    typeof value.shape === 'function'
  );
}

/** Every export that is a graph, or a function without parameters that gives one; `params` says what the parameters are. */
async function openSource(file: string): Promise<Exportable> {
  const loaded = await importOwn(file, 'export');
  const graphs = new Map<string, () => Graph>();
  for (const [name, value] of Object.entries(loaded)) {
    const graph: unknown =
      typeof value === 'function' && value.length === 0 && /graph/i.test(name)
        ? await (value as () => unknown)()
        : value;
    if (isGraph(graph)) graphs.set(name, () => graph);
  }
  if (graphs.size === 0)
    throw new OpabiniaError(`${file} exports no graph`, {
      op: 'export',
      advice: 'export const graph = trace(params, (t) => …); export const params = randomParams(1)',
    });
  const source = loaded['params'];
  return { graphs, source: isSource(source) ? source : randomParams(0), files: [], close: () => undefined };
}

/** Into the model while they are few, else into one file beside it, which is committed when the model is. */
function ownWeights(
  graph: Graph,
  source: ParamSource,
  path: string,
  inputs: readonly string[],
): Weights & { readonly file?: AtomicFile } {
  const parameters = order(graph).filter((node) => roleOf(node) === 'param');
  const bytes = parameters.reduce((sum, node) => sum + 4 * fixedElements(node.type.axes), 0);
  const read = source.read.bind(source);
  if (bytes <= embedded) return { read };
  const name = `${path.slice(0, path.length - extname(path).length)}.bin`;
  const file = new AtomicFile(name, { inputs, op: 'export' });
  return {
    read,
    file,
    placeOf(parameter, shape): StoredWeight {
      const values = read(parameter, shape);
      const offset = file.bytes;
      file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      return { dtype: 'F32', location: basename(file.path), offset, length: values.byteLength };
    },
  };
}

// ---- model directories -----------------------------------------------------------------------------------------------

async function openDirectory(what: string, command: ExportCommand): Promise<Exportable> {
  const dtype = command.dtype ?? 'f32';
  if (dtype !== 'f32' && dtype !== 'f16')
    throw new OpabiniaError(`there is no dtype '${dtype}'`, { op: 'export', advice: 'f32 or f16' });
  const directory = resolveModel(what);
  const files = modelFiles(directory);
  const path = needFile(files.config ?? files.openClipConfig, 'config.json', files);
  const config = readConfig(readJsonFile(path), path);
  if (config.kind === 'tower') {
    refuseAnswerSizes(what, command);
    return openTower(needFile(files.weights, 'model.safetensors', files), config.tower, dtype);
  }
  const model = await openModel(what, { dtype, weights: 'floats', connectors: command.connectors });
  const { language, family, source } = model;
  const capacity = command.context ?? Math.min(2048, language.config.maxPositions);
  const sizes = {
    batch: command.batch ?? 1,
    capacity,
    promptLimit: command.prompt ?? Math.max(1, Math.floor(capacity / 2)),
    imageLimit: command.images ?? 1,
    draw: 'greedy' as const,
  };
  const { vision } = family;
  const graphs = new Map<string, () => Graph>(vision === undefined ? [] : [['vision', () => vision(sizes)]]);
  graphs.set('prefill', () => family.prefill(sizes)).set('decode', () => family.decode(sizes));
  return { graphs, source, files: model.weights, close: model.close };
}

/** A tower has one graph, of one picture. Throws `OpabiniaError` for a size of answers, which would do nothing. */
function refuseAnswerSizes(what: string, command: ExportCommand): void {
  const idle = (['batch', 'context', 'prompt', 'images'] as const).find((key) => command[key] !== undefined);
  if (idle !== undefined)
    throw new OpabiniaError(`--${idle} says nothing of a tower, and ${what} is one`, {
      op: 'export',
      advice: 'leave it out',
    });
}

function openTower(weights: string, tower: TowerConfig, dtype: 'f32' | 'f16'): Exportable {
  const checkpoint = openCheckpoint(weights, { dtype });
  const side = nativeSide(tower) ?? towerPixels[tower.tower].side;
  const features = (): Graph =>
    trace(
      checkpoint,
      (t) => {
        const pixels = t.input<'b h w c', 'f32' | 'f16'>('pixels', 'b h w c', { b: 1, h: side, w: side, c: 3 }, dtype);
        return { features: towerMap(t.params, pixels, tower) };
      },
      { unread: 'ignore' },
    );
  return {
    graphs: new Map([['features', features]]),
    source: checkpoint,
    files: [{ root: '', path: weights }],
    close: () => checkpoint.close(),
  };
}

/** Where each tensor of the files is, as the models written to `out` must say it. */
function placesOf(files: Exportable['files'], out: string): ReadonlyMap<string, StoredWeight> {
  const places = new Map<string, StoredWeight>();
  for (const { root, path } of files) {
    for (const shard of shardsOf(path)) {
      const location = locationOf(shard, root, out);
      const file = openSafetensors(shard);
      file.close();
      for (const [name, { dtype, start, bytes }] of file.tensors) {
        if (dtype === 'F64' || dtype === 'F32' || dtype === 'F16' || dtype === 'BF16')
          places.set(root + name, { dtype, location, offset: start, length: bytes });
      }
    }
  }
  return places;
}

/** `openCheckpoint` has checked the index. */
function shardsOf(path: string): readonly string[] {
  if (!path.endsWith('.json')) return [path];
  const { weight_map: map } = readJsonFile(path) as { readonly weight_map: Readonly<Record<string, string>> };
  return [...new Set(Object.values(map))].map((name) => join(dirname(path), name));
}

/**
 * ONNX Runtime reads external data from below the model's own directory only, and follows no link out of it. A file that lies
 * elsewhere gets a second name there: a hard link, which copies nothing.
 */
function locationOf(file: string, root: string, out: string): string {
  const folder = realpathSync(dirname(out));
  const real = realpathSync(file);
  if (real.startsWith(folder + sep)) return relative(folder, real).split(sep).join('/');
  const name = `${basename(out, extname(out))}.${root}${basename(file)}`;
  const link = join(folder, name);
  try {
    if (!existsSync(link)) linkSync(real, link);
    else if (statSync(link).ino !== statSync(real).ino) throw new Error(`${link} is another file`);
  } catch (cause) {
    throw new OpabiniaError(
      `the weights ${file} cannot be named beside ${out}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        op: 'export',
        cause,
        advice: `ONNX Runtime reads weights only from below the model's directory: write the model to ${dirname(file)}, or to the same file system`,
      },
    );
  }
  return name;
}
