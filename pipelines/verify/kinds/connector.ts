// Golden kind `connector`: connectors by name, from features to tokens, each with the parameters and the layout of its own code.
import { nearestNames, OpabiniaError } from '../../../dsl/error.ts';
import { concat, rearrange, repeat, slice, trace, type Float, type Params, type Tensor } from '../../../dsl/index.ts';
import {
  llavaConnector,
  mergingProjector,
  normedProjector,
  poolerProjector,
  poolMap,
} from '../../../models/connectors/mlp.ts';
import { asSquareMap } from '../../../models/sequence/regions.ts';
import { bestCanvas, packViews, unpadded, type Canvas } from '../../../models/multimodal/llava-next.ts';
import type { Numbers } from '../../../runtime/program/values.ts';
import { OutputRecorder, type GoldenFile } from '../golden-file.ts';
import type { GoldenModel, Kind } from '../kind.ts';

/** Everything about a file that does not depend on the connector. */
interface Build {
  readonly file: GoldenFile;
  readonly params: Params;
  /** The input `features`, with the axes that the file's layout has. */
  readonly features: <S extends string>(axes: S) => Tensor<S, Float>;
  readonly take: (name: string, value: Tensor) => void;
}

/** Makes the outputs in the graph; what is known without it is returned. */
type Connector = (build: Build) => ReadonlyMap<string, Numbers> | undefined;

const onTokens =
  (connect: (p: Params, x: Tensor<'b n c', Float>, file: GoldenFile) => Tensor): Connector =>
  ({ file, params, features, take }) => {
    take('tokens', connect(params, features('b n c'), file));
    return undefined;
  };

const connectors: ReadonlyMap<string, Connector> = new Map<string, Connector>([
  ['llava-mlp', onTokens((p, x, file) => llavaConnector(file.config.text('mm_projector_type'), p, x))],
  ['llava-mlp-res', onTokens((p, x, file) => llavaConnector(file.config.text('mm_projector_type'), p, x))],
  ['llava-next-pooler', onTokens((p, x) => poolerProjector(p, asSquareMap(x)))],
  ['vip-llava', onTokens((p, x, file) => normedProjector(p, x, { eps: file.config.number('ln_eps', 1e-5) }))],
  ['llava-next-2dpool', pooled],
  ['mistral3-projector', merged],
  ['llava-onevision-anyres-pack', packed],
]);

export const connector: Kind = (file): GoldenModel => {
  const name = file.config.text('name');
  const build = connectors.get(name);
  if (build === undefined)
    throw new OpabiniaError(`${file.path} is of the unknown connector '${name}'`, {
      op: 'verify',
      advice: `the nearest known ones are ${nearestNames(name, connectors.keys()).join(', ')}`,
    });
  const recorder = new OutputRecorder(file);
  let host: ReadonlyMap<string, Numbers> = new Map();
  const graph = trace(
    file.checkpoint,
    (t) => {
      const shape = file.shape('input.features');
      const features = <S extends string>(axes: S): Tensor<S, Float> => {
        const names = axes.split(' ');
        const sizes = Object.fromEntries(names.map((axis, i) => [axis, shape[i] ?? 1]));
        return t.input<string, Float>('features', axes, sizes, file.dtype) as Tensor<S, Float>;
      };
      host = build({ file, params: t.params, features, take: (output, value) => recorder.take(output, value) }) ?? host;
      return recorder.tensors;
    },
    { unread: ['input.', 'output.'] },
  );
  const bounds = tolerances(file);
  return {
    graph,
    host,
    inputs: new Map([['features', file.numbers('input.features')]]),
    // What has no bound of its own is a count.
    tolerance: (output) => ({ absolute: bounds.get(output) ?? 0, relative: 0 }),
  };
};

/** `tolerance_abs`: what each output may differ by. */
function tolerances(file: GoldenFile): ReadonlyMap<string, number> {
  const bounds = file.config.raw('tolerance_abs');
  return new Map(
    typeof bounds === 'object' && bounds !== null
      ? Object.entries(bounds).filter((entry): entry is [string, number] => typeof entry[1] === 'number')
      : [],
  );
}

/** A list of heights and widths. */
function pairs(values: unknown, what: string): readonly Canvas[] {
  const isPair = (value: unknown): value is Canvas =>
    Array.isArray(value) && value.length === 2 && value.every((size) => Number.isInteger(size));
  if (Array.isArray(values) && values.every(isPair)) return values;
  throw new OpabiniaError(`${what} is not a list of pairs of sizes`, {
    op: 'verify',
    advice: 'the file may be damaged',
  });
}

function pooled({ file, features, take }: Build): undefined {
  const map = asSquareMap(features('b n c'));
  for (const mode of ['average', 'max', 'bilinear'] as const)
    take(mode, rearrange(poolMap(map, mode, file.config.number('stride')), 'b h w c -> b n=(h w) c'));
}

/** Pictures of different sizes, their patches one behind the other. */
function merged({ file, params, features, take }: Build): undefined {
  const [patch, merge] = [file.config.number('patch_size'), file.config.number('spatial_merge_size')];
  const rows = features('n c');
  let start = 0;
  const sizes = file.numbers('input.image_sizes');
  const tokens = Array.from({ length: file.size('input.image_sizes', 0) }, (_, i) => {
    const [h, w] = [(sizes[2 * i] ?? 0) / patch, (sizes[2 * i + 1] ?? 0) / patch];
    const map = repeat(
      rearrange(slice(rows, 'n', { start, size: h * w }), '(h w) c -> h w c', { h }),
      'h w c -> b h w c',
      { b: 1 },
    );
    start += h * w;
    return mergingProjector(params, map, {
      merge,
      eps: file.config.number('rms_eps'),
      bias: file.config.flag('bias', true),
    }).at('b', 0);
  });
  take('tokens', concat(tokens, 'n'));
}

function packed({ file, params, features, take }: Build): ReadonlyMap<string, Numbers> {
  const { config } = file;
  const image = config.number('image_size');
  const side = Math.floor(image / config.number('patch_size'));
  const read = (key: string): readonly Canvas[] => pairs(file.config.raw(key), `'${key}' of ${file.path}`);
  const canvases = read('image_grid_pinpoints');
  const limit = /^anyres_max_(\d+)$/.exec(config.text('vision_aspect_ratio', ''))?.[1];
  const newline = params.get('image_newline', 'e');
  const all = rearrange(features('v n e'), 'v (h w) e -> v h w e', { h: side });
  const counts = config.numbers('views_per_image');
  let start = 0;
  const lengths = read('image_sizes_hw').map(([height, width], i) => {
    const size = counts[i] ?? 1;
    const views = slice(all, 'v', { start, size });
    start += size;
    const canvas = bestCanvas({ height, width }, canvases);
    const tiles = [canvas[0] / image, canvas[1] / image] as const;
    const layout =
      size === 1 ? undefined : { tiles, area: unpadded({ height, width }, [tiles[0] * side, tiles[1] * side]) };
    const tokens = packViews(views, newline, { layout, limit: limit === undefined ? undefined : Number(limit) });
    take(`tokens.${i}`, tokens);
    return tokens.size('s');
  });
  return new Map([['lengths', lengths]]);
}
