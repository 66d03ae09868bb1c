// A recipe as something to check: it is written in TypeScript, and runs without its types. Every field is known, or refused.
import { z } from 'zod';
import { isConnector, type AnyConnector } from '../../../models/connectors/connector.ts';
import { knownFields } from '../data/known-fields.ts';
import { mixtureSchema } from '../data/mixture.ts';
import type { Optimizer } from '../optimizers/optimizer.ts';

const positive = z.number().positive();
const whole = z.int().min(1);
const paths = z.array(z.string().min(1)).min(1);

const optimizer = z.custom<Optimizer>(isOptimizer, 'is not an optimizer: adamW(), lion(), muon() or sgd()');

function isOptimizer(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'update' in value &&
    typeof value.update === 'function' &&
    'slots' in value &&
    Array.isArray(value.slots)
  );
}

const dataSet = z.union([
  knownFields({ file: z.string().min(1), images: z.string() }),
  mixtureSchema,
  knownFields({ index: z.string().min(1) }),
  knownFields({
    samples: z.custom<() => unknown>((value) => typeof value === 'function', 'is not a function'),
    count: whole,
    images: z.string(),
  }),
]);

const warmup = knownFields({
  steps: z.int().min(0).optional(),
  ratio: z.number().min(0).max(1).optional(),
}).refine(
  ({ steps, ratio }) => (steps === undefined) !== (ratio === undefined),
  'has steps or ratio, one of them and not both',
);

const stage = knownFields({
  name: z.string(),
  data: dataSet,
  groups: z.array(
    knownFields({
      paths,
      lr: z.number().min(0),
      weightDecay: z.number().min(0).optional(),
      optimizer: optimizer.optional(),
    }),
  ),
  frozen: z.array(z.string().min(1)).optional(),
  unfreezeTowers: z.boolean().optional(),
  gradientCheckpointing: z.boolean().optional(),
  lora: z.array(knownFields({ paths, rank: whole, alpha: positive.optional() })).optional(),
  optimizer,
  schedule: knownFields({ shape: z.enum(['cosine', 'linear', 'constant']), warmup: warmup.optional() }),
  batch: whole,
  microBatch: whole.optional(),
  steps: whole.optional(),
  epochs: positive.optional(),
  length: z.int().min(2),
  layout: z.enum(['train', 'unpad']).optional(),
  turns: z.enum(['conversation', 'independent']).optional(),
  clip: z.number().min(0).optional(),
  scaling: knownFields({
    initial: positive.optional(),
    growth: z.number().gt(1).optional(),
    interval: whole.optional(),
    backoff: z.number().gt(0).lt(1).optional(),
  }).optional(),
  ema: z.number().min(0).max(1).optional(),
  groupByLength: z.boolean().optional(),
  saveEvery: whole.optional(),
  logEvery: whole.optional(),
  evaluation: knownFields({ data: dataSet, every: whole, batches: whole }).optional(),
})
  .refine(({ batch, microBatch = batch }) => batch % microBatch === 0, {
    path: ['microBatch'],
    error: 'does not divide the batch',
  })
  .refine(({ steps, epochs }) => steps !== undefined || epochs !== undefined, {
    path: ['steps'],
    error: 'the stage has no end: give steps or epochs',
  })
  .refine(({ steps, epochs }) => steps === undefined || epochs === undefined, {
    path: ['epochs'],
    error: 'says how long the stage is, and so does steps: give one of them',
  });

export const recipeSchema = knownFields({
  name: z.string().regex(/^(?!\.{1,2}$)[\w.=+ -]+$/, 'is the name of a folder: letters, digits, spaces, . - _ + ='),
  model: z.string().min(1),
  towers: z.array(z.string()).optional(),
  connectors: z.array(z.custom<AnyConnector>(isConnector, 'is not a connector: connector({ … })')).optional(),
  dtype: z.enum(['f32', 'f16']).optional(),
  seed: z.int().min(0).optional(),
  stages: z.array(stage).min(1),
});

/** The first fault of a recipe and its place. Of a union, that of the kind which was meant: it has the fewest faults of its own level. */
export function firstFault(issue: z.core.$ZodIssue | undefined): { readonly path: string; readonly what: string } {
  let [at, path] = [issue, issue?.path ?? []];
  while (at?.code === 'invalid_union') {
    const [nearest] = at.errors.toSorted((a, b) => ownFaults(a) - ownFaults(b));
    const [inner] = nearest ?? [];
    if (inner === undefined) break;
    path = [...path, ...inner.path];
    at = inner;
  }
  return { path: path.join('.'), what: at?.message ?? 'is wrong' };
}

function ownFaults(issues: readonly z.core.$ZodIssue[]): number {
  return issues.filter(({ path }) => path.length <= 1).length;
}
