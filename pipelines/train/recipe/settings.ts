// `--set stages.0.steps=100`: changes of a recipe from the command line, each at a path that the recipe may have.
import { OpabiniaError } from '../../../dsl/index.ts';
import { nameAdvice } from '../../../dsl/text/near-names.ts';
import type { Recipe } from './recipe.ts';

type Kind = 'number' | 'text' | 'flag' | 'texts';

interface Fields {
  readonly fields: Readonly<Record<string, Shape>>;
  /** Fields that say the same in different ways: to set one takes the others away. */
  readonly alternatives?: readonly string[] | undefined;
  /** All fields may be absent, so it can be made where it is not. */
  readonly makes?: true | undefined;
}

/** What may stand at a place of a recipe. */
type Shape = Kind | Fields | { readonly each: Shape };

/** Which of these fields there are is the kind of the data; none is added. */
const data: Fields = {
  fields: {
    file: 'text',
    images: 'text',
    index: 'text',
    count: 'number',
    cap: 'number',
    total: 'number',
    mixture: { each: { fields: { file: 'text', images: 'text', category: 'text', cap: 'number', format: 'text' } } },
  },
};
const group: Fields = { fields: { paths: 'texts', lr: 'number', weightDecay: 'number' } };
const stage: Fields = {
  fields: {
    name: 'text',
    data,
    groups: { each: group },
    frozen: 'texts',
    lora: { each: { fields: { paths: 'texts', rank: 'number', alpha: 'number' } } },
    schedule: {
      fields: {
        shape: 'text',
        warmup: { fields: { steps: 'number', ratio: 'number' }, alternatives: ['steps', 'ratio'], makes: true },
      },
    },
    batch: 'number',
    microBatch: 'number',
    steps: 'number',
    epochs: 'number',
    length: 'number',
    layout: 'text',
    turns: 'text',
    gradientCheckpointing: 'flag',
    clip: 'number',
    scaling: {
      fields: { initial: 'number', growth: 'number', interval: 'number', backoff: 'number' },
      makes: true,
    },
    ema: 'number',
    groupByLength: 'flag',
    saveEvery: 'number',
    logEvery: 'number',
    evaluation: { fields: { data, every: 'number', batches: 'number' } },
  },
  alternatives: ['steps', 'epochs'],
};
const recipeShape: Fields = {
  fields: { name: 'text', model: 'text', towers: 'texts', dtype: 'text', seed: 'number', stages: { each: stage } },
};
/** Of every group, where they are set without a path. */
const ofGroups = ['lr', 'weightDecay'];

/**
 * `PATH=VALUE`, with the path as errors write it: `stages.0.groups.1.lr`. A path that begins with a field of a stage is set in every
 * stage, `lr` and `weightDecay` in every group. Lists of words are written with commas.
 * Throws `OpabiniaError` for a path that the recipe cannot have, with the nearest that it can, and for a value of another kind.
 */
export function withSettings(recipe: Recipe, settings: readonly string[]): Recipe {
  return settings.reduce(changed, recipe);
}

type Refuse = (what: string, advice: string) => OpabiniaError;

function changed(recipe: Recipe, setting: string): Recipe {
  const at = setting.indexOf('=');
  const refuse: Refuse = (what, advice) => new OpabiniaError(`--set ${setting}: ${what}`, { op: 'train', advice });
  if (at < 1) throw refuse('there is no value', 'write --set lr=1e-4');
  const [path, text] = [setting.slice(0, at), setting.slice(at + 1)];
  const wholes = wholePaths(recipe, path);
  return wholes.reduce<unknown>(
    (value, whole) => new Change(recipe, path, text, refuse).set(value, recipeShape, whole.split('.'), []),
    recipe,
  ) as Recipe;
}

/** The paths from the recipe on that a path means. */
function wholePaths({ stages }: Recipe, path: string): readonly string[] {
  const [first = ''] = path.split('.');
  if (ofGroups.includes(path))
    return stages.flatMap(({ groups }, i) => groups.map((_, k) => `stages.${i}.groups.${k}.${path}`));
  if (!Object.hasOwn(recipeShape.fields, first) && Object.hasOwn(stage.fields, first))
    return stages.map((_, i) => `stages.${i}.${path}`);
  return [path];
}

class Change {
  readonly #recipe: Recipe;
  readonly #path: string;
  readonly #text: string;
  readonly #refuse: Refuse;

  constructor(recipe: Recipe, path: string, text: string, refuse: Refuse) {
    this.#recipe = recipe;
    this.#path = path;
    this.#text = text;
    this.#refuse = refuse;
  }

  /** `value`, which is at `before`, with another value at the rest of the path. */
  set(value: unknown, shape: Shape, rest: readonly string[], before: readonly string[]): unknown {
    if (typeof shape === 'string') {
      if (rest.length > 0) throw this.#unknown();
      return this.#valueOf(shape);
    }
    const [name, ...further] = rest;
    if (name === undefined) throw this.#unknown();
    const here = [...before, name];
    if ('each' in shape) {
      const items: readonly unknown[] = Array.isArray(value) ? value : [];
      if (!/^\d+$/.test(name)) throw this.#unknown();
      if (Number(name) >= items.length)
        throw this.#refuse(
          `there is no ${here.join('.')}`,
          `the recipe has ${items.length} ${before.at(-1) ?? ''}, counted from 0`,
        );
      return items.map((item, i) => (i === Number(name) ? this.set(item, shape.each, further, here) : item));
    }
    const next = Object.hasOwn(shape.fields, name) ? shape.fields[name] : undefined;
    if (next === undefined) throw this.#unknown();
    const fields = fieldsOf(value);
    const makes = typeof next === 'string' ? shape !== data : 'makes' in next;
    if (fields[name] === undefined && !makes)
      throw this.#refuse(`the recipe has no ${here.join('.')}`, 'write it in the file of the recipe');
    const others = shape.alternatives?.includes(name) === true ? shape.alternatives : [];
    const kept = Object.fromEntries(Object.entries(fields).filter(([field]) => !others.includes(field)));
    return { ...kept, [name]: this.set(fields[name], next, further, here) };
  }

  #unknown(): OpabiniaError {
    const short = [...ofGroups, ...Object.keys(stage.fields)];
    const known = [...short, ...settable(this.#recipe, recipeShape)];
    const rest = `there are ${[...new Set(short)].join(', ')}, and paths such as stages.0.steps`;
    return this.#refuse(`there is no '${this.#path}'`, nameAdvice(this.#path, known, rest));
  }

  #valueOf(kind: Kind): number | string | boolean | readonly string[] {
    const text = this.#text;
    switch (kind) {
      case 'text':
        return text;
      case 'texts':
        return text.split(',').filter((word) => word !== '');
      case 'flag':
        if (text !== 'true' && text !== 'false')
          throw this.#refuse(`'${text}' is neither true nor false`, 'write true or false');
        return text === 'true';
      case 'number': {
        const value = Number(text);
        if (text.trim() === '' || !Number.isFinite(value))
          throw this.#refuse(`'${text}' is not a number`, 'write a number');
        return value;
      }
      default:
        return kind satisfies never;
    }
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** Every path that can be set in this recipe. */
function settable(value: unknown, shape: Shape): readonly string[] {
  if (typeof shape === 'string') return [''];
  const below = (name: string, inner: unknown, of: Shape): readonly string[] =>
    settable(inner, of).map((rest) => (rest === '' ? name : `${name}.${rest}`));
  if ('each' in shape)
    return Array.isArray(value) ? value.flatMap((item, i) => below(String(i), item, shape.each)) : [];
  const fields = fieldsOf(value);
  return Object.entries(shape.fields).flatMap(([name, of]) =>
    fields[name] === undefined && (typeof of === 'string' ? shape === data : !('makes' in of))
      ? []
      : below(name, fields[name], of),
  );
}
