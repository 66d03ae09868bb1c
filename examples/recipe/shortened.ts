// The recipe at other lengths, to see it run: another training, and so with a name of its own.
import { OpabiniaError } from '../../dsl/error.ts';
import type { Recipe } from '../../pipelines/train/recipe/recipe.ts';

/** `text`: the steps of all stages, `20,20`. Throws `OpabiniaError`. */
export function shortened(recipe: Recipe, text: string): Recipe {
  const steps = text.split(',').map(Number);
  if (steps.length !== recipe.stages.length || !steps.every((count) => Number.isInteger(count) && count > 0))
    throw new OpabiniaError(`steps are ${text}`, { op: 'recipe', advice: 'give those of both stages: 40,80' });
  return {
    ...recipe,
    name: `${recipe.name}-${steps.join('-')}`,
    stages: recipe.stages.map((stage, i) => ({ ...stage, steps: steps[i] })),
  };
}
