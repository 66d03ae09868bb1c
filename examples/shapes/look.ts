// Where the queries of the connector look in a picture: the softmax of SVA's last layer, key by key, on the grid of each encoder.
import { OpabiniaError, reduce, trace, type Tensor } from '../../dsl/index.ts';
import { spatialVisionAggregator } from '../../models/parts/sva/aggregator.ts';
import { towersGraph, type CambrianModel } from '../../models/multimodal/cambrian-model.ts';
import { regionOrder } from '../../models/sequence/masks.ts';
import { towerInputs } from '../../pipelines/answer/families/cambrian.ts';
import type { OpenedModel } from '../../pipelines/answer/open-model.ts';
import { towerMaps } from '../../pipelines/train/frozen-towers.ts';
import { compile } from '../../compiler/compile.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import type { Image } from '../../runtime/image/image.ts';
import { load } from '../../runtime/program/program.ts';

export interface Look {
  readonly encoder: string;
  /** Side of its grid. */
  readonly side: number;
  /** Row-major: the part of its query's attention that each token receives. */
  readonly weights: readonly number[];
}

/** One for each encoder. */
export async function looksOf(
  opened: OpenedModel,
  model: CambrianModel,
  device: Device,
  image: Image,
): Promise<readonly Look[]> {
  const { connector, language } = model.config;
  const maps = towerMaps(model);
  const run = async (graph: Parameters<typeof compile>[0], inputs: Readonly<Record<string, Float32Array>>) => {
    const program = await load(compile(graph, deviceProfile(device)), device, opened.source);
    try {
      return await program.run(inputs);
    } finally {
      program.dispose();
    }
  };
  const features = await run(towersGraph(opened.source, model), towerInputs(model, image));
  const given = Object.fromEntries(
    maps.map((_, k): [string, Float32Array] => [
      `map_${k}`,
      Float32Array.from(features[`features_${k}`]?.data ?? [], Number),
    ]),
  );
  const graph = trace(
    opened.source,
    (t) => {
      let weights: Tensor | undefined;
      spatialVisionAggregator(
        t.params.at('model'),
        maps.map(({ side, channels }, k) => t.input(`map_${k}`, 'b h w c', { b: 1, h: side, w: side, c: channels })),
        {
          ...connector,
          llmWidth: language.config.hidden,
          inspect: (path, value) => {
            if (path.endsWith('softmax')) weights = value;
          },
        },
      );
      if (weights === undefined) throw new OpabiniaError('the connector showed no attention', { op: 'look' });
      return { weights: reduce(weights as Tensor<'b h q t', 'f32'>, 'b h q t -> q t', 'mean') };
    },
    { unread: 'ignore' },
  );
  const { weights } = await run(graph, given);
  const keys = maps.map(({ side }) => (side / connector.side) ** 2);
  const all = keys.reduce((sum, count) => sum + count, 0);
  return maps.map(({ side }, k) => {
    const out = Array.from({ length: side * side }, () => 0);
    const first = keys.slice(0, k).reduce((sum, count) => sum + count, 0);
    const own = keys[k] ?? 1;
    regionOrder(side, connector.side).forEach((position, at) => {
      out[position] = Number(weights?.data[Math.floor(at / own) * all + first + (at % own)] ?? 0);
    });
    return { encoder: model.config.towers[k]?.name ?? `encoder ${k}`, side, weights: out };
  });
}
