// The programs of a model, tuned on the device at hand and kept for it.
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { openModel } from '../answer/open-model.ts';
import { sessionGraphs, sessionSizes, type NamedGraph } from '../answer/session-plans.ts';
import { trialPicture } from '../answer/trial-picture.ts';
import { isReleased, releasedGraphs } from '../plan/plan-model.ts';
import type { QuantizeOptions } from '../../runtime/checkpoint/packed/quantized-source.ts';
import type { Device } from '../../runtime/device/device.ts';
import { keepTiles, tuningPath } from '../../runtime/device/tuning.ts';
import { tune, type TunedKernel, type TuneOptions } from './tune.ts';

export interface TuneModelOptions extends TuneOptions {
  readonly dtype: 'f32' | 'f16';
  readonly weights?: QuantizeOptions | 'floats' | undefined;
  readonly towers?: readonly string[] | undefined;
  /** Of a model that was assembled with a connector of your own. */
  readonly connectors?: readonly AnyConnector[] | undefined;
  /** Tokens of prompt and answer: products of other sizes are other kernels. */
  readonly context?: number | undefined;
  readonly images?: number | undefined;
  /** The file that keeps what was found; by default that of this device. */
  readonly out?: string | undefined;
}

export interface TunedModel {
  readonly kernels: readonly TunedKernel[];
  /** The file that keeps it. */
  readonly path: string;
}

const usualContext = 2048;

/** Of a model directory, or of a released model by its name, without weights. Throws `OpabiniaError`, `DeviceError`. */
export async function tuneModel(model: string, device: Device, options: TuneModelOptions): Promise<TunedModel> {
  const kernels = await withGraphs(model, options, async (graphs) => tune(graphs, device, options));
  const path = options.out ?? tuningPath(device.facts);
  keepTiles(device.facts, Object.fromEntries(kernels.map(({ key, chosen }) => [key, chosen.tile])), path);
  return { kernels, path };
}

async function withGraphs<T>(
  name: string,
  { dtype, weights, towers, connectors, context = usualContext, images = 1 }: TuneModelOptions,
  use: (graphs: readonly NamedGraph[]) => Promise<T>,
): Promise<T> {
  if (isReleased(name)) {
    const { graphs } = releasedGraphs(name, { dtype, weights, context, prompt: context - 1, images });
    return use(Object.entries(graphs).map(([program, graph]) => ({ name: program, graph })));
  }
  const model = await openModel(name, { dtype, weights, towers, connectors });
  try {
    const { family } = model;
    const sizes = sessionSizes(model, { context, images });
    const { vision, prefill, decode } = sessionGraphs(model, sizes, 'greedy');
    const laid =
      family.seesByView === true ? await family.layOut([{ text: 'a', images: [trialPicture] }], {}) : undefined;
    const views = (laid?.views ?? []).flatMap(({ graph }): readonly NamedGraph[] =>
      graph === undefined
        ? []
        : [{ name: `pictures of ${graph.key}`, graph: () => graph.make({ ...sizes, draw: 'greedy' }) }],
    );
    return await use([...(vision === undefined ? [] : [vision]), ...views, prefill, decode]);
  } finally {
    model.close();
  }
}
