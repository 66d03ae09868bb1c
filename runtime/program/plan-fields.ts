// The fields of a plan that was read from a file: JSON that a person or a disk has damaged is told by its field, before anything is made of it.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';
import { dtypes } from '../../dsl/graph/op.ts';
import type { Formula, Plan } from '../../compiler/plan.ts';

const count = z.int().min(0);
const figure = z.number();
const formula: z.ZodType<Formula> = z.lazy(() =>
  z.union([
    z.number(),
    z.object({ symbol: z.string() }),
    z.object({ sum: z.array(formula) }),
    z.object({ product: z.array(formula) }),
    z.object({ ceil: formula, by: z.int().min(1) }),
  ]),
);
const tensor = z.object({
  name: z.string(),
  dtype: z.enum(dtypes),
  axes: z.array(z.object({ name: z.string(), size: formula })),
  buffer: count,
  offset: count,
});
const dispatch = z.object({
  kernel: count,
  bindings: z.array(z.object({ buffer: count, offset: count, bytes: count })),
  grid: z.tuple([formula, formula, formula]),
  path: z.string(),
  label: z.string(),
  flops: figure,
  bytes: figure,
  shares: z.array(z.object({ path: z.string(), flops: figure })).exactOptional(),
});
const schema: z.ZodType<Plan> = z.object({
  version: z.literal(1),
  symbols: z.array(z.object({ name: z.string(), least: count, bound: count })),
  buffers: z.array(
    z.object({
      name: z.string(),
      bytes: count,
      role: z.enum(['input', 'output', 'parameter', 'constant', 'loaded', 'state', 'arena', 'symbols']),
      transient: z.boolean().exactOptional(),
      contents: z.string().exactOptional(),
      origin: z.string().exactOptional(),
    }),
  ),
  kernels: z.array(
    z.object({
      name: z.string(),
      wgsl: z.string(),
      access: z.array(z.enum(['read', 'read_write'])),
      features: z.array(z.enum(['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'])),
    }),
  ),
  inputs: z.array(tensor),
  outputs: z.array(tensor),
  parameters: z.array(tensor),
  states: z.array(tensor),
  load: z.array(dispatch),
  dispatches: z.array(dispatch),
  memory: z.object({
    parameters: figure,
    loaded: figure,
    states: figure,
    inputsAndOutputs: figure,
    activations: figure,
    liveBound: figure,
  }),
});

/** Throws `OpabiniaError` with the first field that is not what a plan has there. */
export function checkFields(plan: unknown): void {
  const version: unknown = typeof plan === 'object' && plan !== null && 'version' in plan ? plan.version : 1;
  if (typeof version === 'number' && version !== 1)
    throw new OpabiniaError(`the plan is of version ${version}, and this runtime reads version 1`, {
      op: 'load',
      advice: 'compile the graph again',
    });
  const [issue] = schema.safeParse(plan).error?.issues ?? [];
  if (issue === undefined) return;
  throw new OpabiniaError(`the plan's field '${issue.path.join('.')}': ${issue.message}`, {
    op: 'load',
    advice: 'compile the graph again; a plan is not written by hand',
  });
}
