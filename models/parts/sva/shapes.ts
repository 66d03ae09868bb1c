// Names and shapes of the Spatial Vision Aggregator's parameters, as a checkpoint has them: for a model that has no checkpoint.

export interface SvaShape {
  /** Channels that each encoder gives, in order. */
  readonly channels: readonly number[];
  /** Side of each encoder's token grid. */
  readonly sides: readonly number[];
  /** Side of the query grid of each group. */
  readonly groups: readonly number[];
  readonly depth: number;
  /** The connector's own width, and that of the tokens it gives. */
  readonly width: number;
  readonly out: number;
}

type Entry = readonly [path: string, shape: readonly number[]];

/** Shapes by path of a connector with "joint" layers (Cambrian-1, arXiv 2406.16860, section 3.1); PyTorch's layout. */
export function svaShapes(sva: SvaShape): ReadonlyMap<string, readonly number[]> {
  const { width, out } = sva;
  const samplers = sva.groups.flatMap((side, g) =>
    Array.from({ length: sva.depth }, (_, d) => samplerLayer(`vision_sampler_${g}.layers.${d}`, sva, side)).flat(),
  );
  return new Map<string, readonly number[]>([
    ...sva.channels.flatMap((channels, k) => [
      ...affine(`mm_projector_aux_${k}.0`, width, channels),
      ...affine(`mm_projector_aux_${k}.2`, width, width),
      ...norm(`mm_projector_aux_${k}.3`, width),
    ]),
    ['vision_query', [sva.groups.length, width]],
    ...samplers,
    ...affine('mm_projector.0', out, sva.groups.length * width),
    ...affine('mm_projector.2', out, out),
  ]);
}

/** One layer of a sampler whose query grid has side `queries`; `query` is the width of the queries: of the connector, or of the LLM inside of it. */
export function samplerLayer(
  path: string,
  { sides, width }: Pick<SvaShape, 'sides' | 'width'>,
  queries: number,
  query: number = width,
): readonly Entry[] {
  const normed = (name: string): readonly Entry[] => [
    ...norm(`${path}.cross_attn.${name}.0`, width),
    [`${path}.cross_attn.${name}.1.weight`, [width, width]],
  ];
  return [
    [`${path}.proj_context.weight`, [width, width]],
    [`${path}.proj_in.weight`, [width, query + width]],
    ...normed('q_proj'),
    ...sides.flatMap((_, k) => [...normed(`k_proj_${k}`), ...normed(`v_proj_${k}`)]),
    [`${path}.cross_attn.o_proj.weight`, [width, width]],
    // One token a region has no position to learn.
    ...sides.flatMap((side, k): readonly Entry[] =>
      side > queries ? [[`${path}.pos_embed_${k}`, [(side / queries) ** 2, width]]] : [],
    ),
    ...norm(`${path}.norm`, width),
    [`${path}.proj_out.linear_1.weight`, [width, width]],
    [`${path}.proj_out.linear_2.weight`, [query, width]],
  ];
}

function affine(path: string, out: number, from: number): readonly Entry[] {
  return [
    [`${path}.weight`, [out, from]],
    [`${path}.bias`, [out]],
  ];
}

function norm(path: string, width: number): readonly Entry[] {
  return [
    [`${path}.weight`, [width]],
    [`${path}.bias`, [width]],
  ];
}
