// A mixture as a JSON file: what `openMixture` takes, with paths from where the file lies; sources may be counts alone, or be told apart by a field.
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { nearestNames, OpabiniaError } from '../../dsl/index.ts';
import { readRegular } from '../../runtime/files/regular-file.ts';
import { responseFormats } from '../train/data/response-formats.ts';
import { cambrianShares } from '../train/recipe/cambrian.ts';
import { requirePath } from '../../dsl/graph/required.ts';

const source = z
  .strictObject({
    /** In tables; by default the file. */
    name: z.string().min(1).optional(),
    file: z.string().min(1).optional(),
    /** Default: the folder of the mixture. */
    images: z.string().optional(),
    /** Samples, where there is no file: a plan on paper. */
    count: z.int().min(0).optional(),
    category: z.string().optional(),
    cap: z.int().min(1).optional(),
    /** A sentence, or the name of one of `responseFormats`. */
    format: z.string().optional(),
    /** A field of each sample that names its source, such as `source`: one file is many sources then. */
    by: z.string().min(1).optional(),
  })
  .refine((one) => (one.file === undefined) !== (one.count === undefined), 'has a file or a count, not both')
  .refine((one) => one.file !== undefined || one.name !== undefined, 'a count needs a name');

const schema = z.strictObject({
  mixture: z.array(source).min(1),
  cap: z.int().min(1).optional(),
  shares: z.record(z.string(), z.number()).optional(),
  total: z.int().min(1).optional(),
});

export interface MixSource {
  readonly name: string;
  /** Whole path; undefined for a count. */
  readonly file: string | undefined;
  readonly images: string;
  readonly count: number | undefined;
  readonly category: string | undefined;
  readonly cap: number | undefined;
  readonly format: string | undefined;
  readonly by: string | undefined;
}

export interface Mix {
  readonly path: string;
  readonly sources: readonly MixSource[];
  readonly cap: number | undefined;
  readonly shares: Readonly<Record<string, number>> | undefined;
  readonly total: number | undefined;
}

const sizeLimit = 16 * 2 ** 20;

/**
 * A mixture as a file says it. Throws `OpabiniaError` that names the field.
 * @example readMix('mix.json')
 */
export function readMix(path: string): Mix {
  requirePath('readMix', path, 'the mixture', "readMix('mix.json')");
  const found = schema.safeParse(parsed(path));
  if (!found.success) {
    const [issue] = found.error.issues;
    throw new OpabiniaError(`${path}, field '${issue?.path.join('.') ?? ''}': ${issue?.message ?? 'is wrong'}`, {
      op: 'data',
      advice:
        'a mixture is {"mixture": [{"file": "a.jsonl", "images": "pictures", "category": "OCR"}, …], "cap": 350000}',
    });
  }
  const { mixture, cap, shares, total } = found.data;
  const base = dirname(resolve(path));
  return {
    path,
    cap,
    shares,
    total,
    sources: mixture.map((one) => ({
      name: one.name ?? one.file ?? '',
      file: one.file === undefined ? undefined : resolve(base, one.file),
      images: resolve(base, one.images ?? '.'),
      count: one.count,
      category: one.category,
      cap: one.cap,
      format: one.format === undefined ? undefined : sentenceOf(one.format),
      by: one.by,
    })),
  };
}

/** Whether a JSON file is a mixture rather than samples. */
export function isMix(path: string): boolean {
  if (!path.endsWith('.json')) return false;
  try {
    const json = parsed(path);
    return typeof json === 'object' && json !== null && 'mixture' in json;
  } catch {
    return false;
  }
}

/** A sentence by its name, or as it is. */
export function sentenceOf(format: string): string {
  const known: Readonly<Record<string, string>> = responseFormats;
  return Object.hasOwn(known, format) ? (known[format] ?? format) : format;
}

/** `General=34.5,OCR=27`, a name of `cambrianShares`, or a JSON file of such shares. Throws `OpabiniaError`. */
export function readShares(text: string): Readonly<Record<string, number>> {
  const published: Readonly<Record<string, Readonly<Record<string, number>>>> = cambrianShares;
  if (Object.hasOwn(published, text)) return published[text] ?? {};
  const wrong = (what: string, advice: string): OpabiniaError =>
    new OpabiniaError(`--ratios ${text}: ${what}`, { op: 'data', advice });
  if (text.endsWith('.json')) {
    const found = z.record(z.string(), z.number()).safeParse(parsed(text));
    if (!found.success) throw wrong(found.error.issues[0]?.message ?? 'is wrong', 'write {"General": 34.5, "OCR": 27}');
    return found.data;
  }
  const pairs = text.split(',').map((part) => {
    const [, key = '', value = ''] = /^\s*([^=]+?)\s*=\s*([\d.eE+-]+)\s*$/.exec(part) ?? [];
    if (key === '' || !Number.isFinite(Number(value)))
      throw wrong(
        `'${part}' is not CATEGORY=SHARE`,
        `write General=34.5,OCR=27, a .json file, or ${nearestNames(text, Object.keys(published)).join(' or ')}`,
      );
    return [key, Number(value)] as const;
  });
  const twice = pairs.find(([key], i) => pairs.findIndex(([other]) => other === key) !== i);
  if (twice !== undefined) throw wrong(`'${twice[0]}' stands twice`, 'give each category one share');
  return Object.fromEntries(pairs);
}

function parsed(path: string): unknown {
  const text = readRegular(path, sizeLimit, 'data').toString('utf8');
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new OpabiniaError(`${path} does not parse: ${cause instanceof Error ? cause.message : String(cause)}`, {
      op: 'data',
      cause,
      advice: 'it is one JSON object',
    });
  }
}
