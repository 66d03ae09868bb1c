// `--set lr=1e-4`: changes of a recipe from the command line, checked against what stands there.
import { nearestNames, OpabiniaError } from '../../../dsl/index.ts';
import type { Recipe, Stage } from './recipe.ts';

const stageFields: Readonly<Record<string, 'number' | 'text' | 'flag'>> = {
  batch: 'number',
  microBatch: 'number',
  steps: 'number',
  epochs: 'number',
  length: 'number',
  layout: 'text',
  clip: 'number',
  ema: 'number',
  groupByLength: 'flag',
  saveEvery: 'number',
  logEvery: 'number',
};
const recipeFields: Readonly<Record<string, 'number' | 'text'>> = {
  name: 'text',
  model: 'text',
  dtype: 'text',
  seed: 'number',
};

/**
 * `FIELD=VALUE` for the recipe or for every stage, `STAGE.FIELD=VALUE` for one (counted from 1), `lr=` and `weightDecay=` for every group.
 * Throws `OpabiniaError` for a field that is not known and a value of another kind.
 */
export function withSettings(recipe: Recipe, settings: readonly string[]): Recipe {
  return settings.reduce(changed, recipe);
}

function changed(recipe: Recipe, setting: string): Recipe {
  const at = setting.indexOf('=');
  const refuse = (what: string, advice: string) =>
    new OpabiniaError(`--set ${setting}: ${what}`, { op: 'train', advice });
  if (at < 1) throw refuse('there is no value', 'write --set lr=1e-4');
  const [key, text] = [setting.slice(0, at), setting.slice(at + 1)];
  const own = recipeFields[key];
  if (own !== undefined) return { ...recipe, [key]: valueOf(text, own, refuse) };
  const [, which, field = key] = /^(\d+)\.(\w+)$/.exec(key) ?? [];
  const kind = field === 'lr' || field === 'weightDecay' ? 'number' : stageFields[field];
  if (kind === undefined) {
    const known = ['lr', 'weightDecay', ...Object.keys(stageFields), ...Object.keys(recipeFields)];
    throw refuse(`there is no '${key}'`, `the nearest are ${nearestNames(field, known).join(', ')}`);
  }
  if (which !== undefined && recipe.stages[Number(which) - 1] === undefined)
    throw refuse(`there is no stage ${which}`, `the recipe has ${recipe.stages.length}, counted from 1`);
  const value = valueOf(text, kind, refuse);
  return {
    ...recipe,
    stages: recipe.stages.map((stage, i) =>
      which === undefined || Number(which) === i + 1 ? changedStage(stage, field, value) : stage,
    ),
  };
}

function changedStage(stage: Stage, field: string, value: number | string | boolean): Stage {
  if (field === 'lr' || field === 'weightDecay')
    return { ...stage, groups: stage.groups.map((group) => ({ ...group, [field]: value })) };
  return { ...stage, [field]: value };
}

function valueOf(
  text: string,
  kind: 'number' | 'text' | 'flag',
  refuse: (what: string, advice: string) => OpabiniaError,
): number | string | boolean {
  switch (kind) {
    case 'text':
      return text;
    case 'flag':
      if (text !== 'true' && text !== 'false')
        throw refuse(`'${text}' is neither true nor false`, 'write true or false');
      return text === 'true';
    case 'number': {
      const value = Number(text);
      if (text.trim() === '' || !Number.isFinite(value)) throw refuse(`'${text}' is not a number`, 'write a number');
      return value;
    }
    default:
      return kind satisfies never;
  }
}
