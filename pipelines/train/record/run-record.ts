// `config.json` of a run: everything that it depends on, and what was changed while it went on.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { sourceOf } from '../../../models/own-source.ts';
import { contentKey } from '../../../runtime/files/content-key.ts';
import type { Recipe } from '../recipe/recipe.ts';
import { withWholePaths } from './whole-paths.ts';

const stageSchema = z.looseObject({ steps: z.number().optional(), epochs: z.number().optional(), batch: z.number() });
/** `modelDigest`; records of earlier versions have none. */
export const modelSchema = z.object({ texts: z.string(), weights: z.record(z.string(), z.string()) }).optional();
const schema = z.looseObject({
  recipe: z.looseObject({ stages: z.array(stageSchema) }),
  /** How many samples the data of each stage has: a file that has grown is in another order. */
  samples: z.array(z.number()).optional(),
  /** And what they say: a file whose lines were changed is another. */
  data: z.array(z.string()).optional(),
  /** And their pictures: `pictureDigest`. */
  pictures: z.array(z.string()).optional(),
  /** What the samples of each stage's evaluation say, and their pictures; empty where there is none. */
  evaluation: z.array(z.string()).optional(),
  /** The file of each connector that is a person's own: its name, and the SHA-256 of its text. */
  connectors: z.record(z.string(), z.object({ file: z.string(), sha256: z.string() })).optional(),
  /** What the model's files are known by: another one under its name is told. */
  model: modelSchema,
  /** `stage 2, step 18: stages.1.steps 20 → 60`; the fields above are those since the last of them. */
  changes: z.array(z.string()).optional(),
});
export type RunRecord = z.infer<typeof schema>;

/** Of a run that begins now. */
export function recordOf(recipe: Recipe, device: Device): RunRecord {
  return schema.parse({
    // As JSON: what is a function has no place in a record, and of a connector the model's directory says what it computes.
    recipe: withWholePaths(
      JSON.parse(JSON.stringify({ ...recipe, connectors: recipe.connectors?.map(({ name }) => name) })),
    ),
    connectors: ownFiles(recipe),
    git: gitCommit(),
    generator: generatorHash(),
    device: device.facts.name,
    driver: device.facts.driver,
    node: process.version,
  });
}

/** The record of a run, with whole paths whoever wrote it. Throws `OpabiniaError` where there is none. */
export function readRecord(folder: string): RunRecord {
  const path = join(folder, 'config.json');
  const found = schema.safeParse(existsSync(path) ? parsed(readFileSync(path, 'utf8')) : undefined);
  if (!found.success)
    throw new OpabiniaError(
      `${path} does not say what was trained, so nothing tells whether this recipe goes on with it`,
      {
        op: 'train',
        advice: 'begin a run of its own, without --resume: --set name=…',
      },
    );
  return schema.parse({ ...found.data, recipe: withWholePaths(found.data.recipe) });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Of the connectors that were made in a file of a person's own; undefined where there are none. */
function ownFiles({ connectors = [] }: Recipe): RunRecord['connectors'] {
  const found = connectors.flatMap((connector) => {
    const url = sourceOf(connector);
    const path = url === undefined ? '' : fileURLToPath(url);
    return existsSync(path)
      ? [[connector.name, { file: basename(path), sha256: contentKey([], [path]) }] as const]
      : [];
  });
  return found.length === 0 ? undefined : Object.fromEntries(found);
}

/** The commit of the code, with a mark when files differ from it; undefined where there is no git. */
function gitCommit(): string | undefined {
  const ask = (...words: readonly string[]): string =>
    execFileSync('git', words, {
      cwd: import.meta.dirname,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    return `${ask('rev-parse', 'HEAD')}${ask('status', '--porcelain') === '' ? '' : '+changes'}`;
  } catch {
    return undefined;
  }
}

/** A hash over the sources that make kernels: two runs of one hash have the same ones. */
function generatorHash(): string {
  const root = join(import.meta.dirname, '../../..');
  const files = ['dsl', 'compiler'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') || name.endsWith('.js'))
      .map((name) => join(root, folder, name))
      .sort(),
  );
  return contentKey([], files).slice(0, 16);
}
