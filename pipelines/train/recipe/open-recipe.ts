// A recipe from its file: a TypeScript module that exports one.
import { OpabiniaError } from '../../../dsl/error.ts';
import { statOf } from '../../../runtime/files/regular-file.ts';
import { importOwn } from '../../own-module.ts';
import { firstFault, recipeSchema } from './recipe-schema.ts';
import type { Recipe } from './recipe.ts';

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

/** Throws `OpabiniaError` that names the field: one that is wrong, and one that nobody knows. */
export function checkRecipe(recipe: unknown, where: string): asserts recipe is Recipe {
  const found = recipeSchema.safeParse(recipe);
  if (found.success) return;
  const { path, what } = firstFault(found.error.issues[0]);
  throw new OpabiniaError(`${where}${path === '' ? '' : `, field '${path}'`}: ${what}`, {
    op: 'train',
    advice: 'the fields of a recipe stand in docs/api.md',
  });
}
