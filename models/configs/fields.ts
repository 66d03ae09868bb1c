// Fields of a config.json with the ranges that make sense: a size outside of them is refused before anything is planned.
import { z } from 'zod';
import { nearestNames, OpabiniaError } from '../../dsl/index.ts';

/** A config.json as it was read: what no schema names is kept. */
export type ConfigJson = Readonly<Record<string, unknown>>;

const whole = (most: number, least = 1) => z.int().min(least).max(most);

export const width = whole(65_536);
export const inner = whole(1_048_576);
export const layers = whole(1_000);
export const heads = whole(1_024);
export const vocabulary = whole(4_194_304);
export const positions = whole(16_777_216);
export const pixels = whole(8_192);
export const patch = whole(512);
export const tokens = whole(65_536);
export const eps = z.number().positive().max(0.1);
export const theta = z.number().positive().max(1e12);
export const ratio = z.number().positive().max(64);
export const name = z.string().min(1).max(200);
const tokenId = whole(4_194_304, 0);
export const tokenIds = z.union([tokenId, z.array(tokenId).max(64)]);
export const numbers = z.array(z.number()).max(65_536);

/** `dtype` as transformers 5 writes it, `torch_dtype` as versions before it did. */
export const dtypes = {
  dtype: z.string().max(40).nullish(),
  torch_dtype: z.string().max(40).nullish(),
};

/** The dtype that a config states, by torch's name without `torch.`; undefined when it states none. */
export function statedDtype(json: ConfigJson): string | undefined {
  const stated = json['dtype'] ?? json['torch_dtype'];
  return typeof stated === 'string' ? stated.replace(/^torch\./, '') : undefined;
}

/** What is used of a schema: comparing it with zod's own type costs the type checker more than all of the models. */
export interface Schema<T> {
  safeParse(json: unknown):
    | { readonly success: true; readonly data: T }
    | {
        readonly success: false;
        readonly error: {
          readonly issues: readonly {
            readonly code?: string;
            readonly message: string;
            readonly path: readonly PropertyKey[];
          }[];
        };
      };
}

/**
 * `json` as `schema` has it. Throws `OpabiniaError` that says which field of which file is wrong, and how; a missing one with the
 * nearest names that are there.
 */
export function checkConfig<T>(schema: Schema<T>, json: unknown, where: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = (issue?.path ?? []).map(String).join('.');
  const present = typeof json === 'object' && json !== null ? Object.keys(json) : [];
  const wanted = String(issue?.path.at(-1) ?? '');
  const missing = issue?.code === 'invalid_type' && issue.path.length === 1 && !present.includes(wanted);
  const near = missing ? nearestNames(wanted, present) : [];
  const more = result.error.issues.length - 1;
  throw new OpabiniaError(
    `${where}: ${path === '' ? 'it' : `'${path}'`} ${missing ? 'is missing' : `is wrong: ${issue?.message ?? ''}`}${more === 0 ? '' : `, and ${more} more fields are wrong`}`,
    {
      op: 'config',
      advice: missing
        ? `the nearest fields are ${near.join(', ')}`
        : 'the config may be damaged, or of another kind of model',
    },
  );
}

/** A JSON object, or an error that names the file. */
export function asObject(json: unknown, where: string): ConfigJson {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as ConfigJson;
  throw new OpabiniaError(`${where} is not a JSON object`, { op: 'config', advice: 'give a config.json' });
}
