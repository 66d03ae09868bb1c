// A recipe from its file: a TypeScript module that exports one.
import { z } from 'zod';
import { isConnector, type AnyConnector } from '../../../models/connectors/connector.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import { statOf } from '../../../runtime/files/regular-file.ts';
import { importOwn } from '../../own-module.ts';
import { mixtureSchema } from '../data/mixture.ts';
import type { Recipe } from './recipe.ts';

const positive = z.number().positive();
const whole = z.int().min(1);
const dataSet = z.union([
  z.object({ file: z.string(), images: z.string() }),
  mixtureSchema,
  z.object({ index: z.string() }),
  z.object({
    samples: z.custom<() => unknown>((value) => typeof value === 'function'),
    count: whole,
    images: z.string(),
  }),
]);
const schema = z.object({
  name: z.string().regex(/^[\w.-]+$/, 'is the name of a folder: letters, digits, . - _'),
  model: z.string().min(1),
  towers: z.array(z.string()).optional(),
  connectors: z.array(z.custom<AnyConnector>(isConnector, 'is not a connector: connector({ … })')).optional(),
  dtype: z.enum(['f32', 'f16']).optional(),
  seed: z.int().min(0).optional(),
  stages: z
    .array(
      z.looseObject({
        name: z.string(),
        data: dataSet,
        groups: z.array(
          z.looseObject({
            paths: z.array(z.string()).min(1),
            lr: z.number().min(0),
            weightDecay: z.number().min(0).optional(),
          }),
        ),
        schedule: z.object({
          shape: z.enum(['cosine', 'linear', 'constant']),
          warmup: z.object({ steps: z.int().min(0).optional(), ratio: z.number().min(0).max(1).optional() }).optional(),
        }),
        batch: whole,
        microBatch: whole.optional(),
        steps: whole.optional(),
        epochs: positive.optional(),
        length: z.int().min(2),
        layout: z.enum(['train', 'unpad']).optional(),
        turns: z.enum(['conversation', 'independent']).optional(),
        unfreezeTowers: z.boolean().optional(),
        clip: z.number().min(0).optional(),
        ema: z.number().min(0).max(1).optional(),
        saveEvery: whole.optional(),
        logEvery: whole.optional(),
      }),
    )
    .min(1),
});

/** Throws `OpabiniaError` for a file that is missing, does not run, or exports no recipe. */
export async function openRecipe(file: string): Promise<Recipe> {
  if (statOf(file, 'train')?.isFile() !== true)
    throw new OpabiniaError(`there is no file ${file}`, {
      op: 'train',
      advice: 'give a TypeScript file that exports a recipe; see docs/recipe.md',
    });
  const { recipe } = await importOwn(file, 'train');
  if (recipe === undefined)
    throw new OpabiniaError(`${file} exports no recipe`, {
      op: 'train',
      advice: 'write: export const recipe: Recipe = { … }',
    });
  checkRecipe(recipe, file);
  return recipe;
}

/** Throws `OpabiniaError` that names the field. */
export function checkRecipe(recipe: unknown, where: string): asserts recipe is Recipe {
  const found = schema.safeParse(recipe);
  if (!found.success) {
    const [issue] = found.error.issues;
    throw new OpabiniaError(`${where}, field '${issue?.path.join('.') ?? ''}': ${issue?.message ?? 'is wrong'}`, {
      op: 'train',
      advice: 'the fields of a recipe stand in docs/api.md',
    });
  }
  const endless = found.data.stages.find((stage) => stage.steps === undefined && stage.epochs === undefined);
  if (endless !== undefined)
    throw new OpabiniaError(`${where}: stage '${endless.name}' has no end`, {
      op: 'train',
      advice: 'give steps or epochs',
    });
}
