// The worked recipe at other lengths: a run of its own, so that the whole one still trains all of its steps.
import { expect, test } from 'vitest';
import { shortened } from '../../examples/recipe/shortened.ts';
import type { Recipe } from '../../pipelines/train/recipe/recipe.ts';
import { mlpStage } from '../pipelines/train/mlp.ts';

const recipe: Recipe = { name: 'whole', model: 'm', stages: [mlpStage({ steps: 800 }), mlpStage({ steps: 1600 })] };

test('a shortened recipe has the steps and a name that says them', () => {
  const { name, stages } = shortened(recipe, '20,30');
  expect([name, ...stages.map(({ steps }) => steps)]).toEqual(['whole-20-30', 20, 30]);
});

test.each(['20', '20,0', '20,x', '1.5,2'])('%s is refused', (steps) => {
  expect(() => shortened(recipe, steps)).toThrow(/give those of both stages/);
});
