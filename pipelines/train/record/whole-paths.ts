// The paths of a recipe written whole: a record means the same whichever folder a later command runs in.
import { statSync } from 'node:fs';
import { resolve } from 'node:path';

/** The fields of a data set that are paths. */
const pathFields = new Set(['file', 'images', 'index']);

/** A recipe as JSON, with whole paths of models and data. A model that is no directory here is a name on the hub, and stays one. */
export function withWholePaths(recipe: unknown): unknown {
  return mapped(recipe, (key, value) => {
    if (key === 'model') return wholeModel(value);
    if (key === 'towers' && Array.isArray(value)) return value.map(wholeModel);
    return key === 'stages' ? wholeStages(value) : value;
  });
}

function wholeStages(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wholeStages);
  return mapped(value, (key, inner) =>
    key === 'data' ? wholeData(inner) : key === 'evaluation' ? wholeStages(inner) : inner,
  );
}

function wholeData(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wholeData);
  return mapped(value, (key, inner) =>
    pathFields.has(key) && typeof inner === 'string' ? resolve(inner) : key === 'mixture' ? wholeData(inner) : inner,
  );
}

function wholeModel(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  return statSync(value, { throwIfNoEntry: false })?.isDirectory() === true ? resolve(value) : value;
}

function mapped(value: unknown, change: (key: string, inner: unknown) => unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, change(key, inner)]));
}
