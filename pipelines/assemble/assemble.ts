// Any towers, any connector, any language model as one directory: read, checked against one another, written, opened, and only then there.
import { existsSync, mkdirSync, realpathSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { OpabiniaError } from '../../dsl/index.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';
import { breathe } from '../../runtime/files/breathe.ts';
import { newFolder, partialBeside } from '../../runtime/files/new-folder.ts';
import { openModel } from '../answer/open-model.ts';
import { ggufPaths } from '../answer/found/gguf-model.ts';
import { writeGgufDirectory } from './gguf-directory.ts';
import { checkMarriage, checkRoom } from './marriage.ts';
import type { Layout } from './layout.ts';
import { ownConnector, type OwnConnector } from './own-connector.ts';
import { readLanguage, readTowerPart, type LanguagePart, type TowerPart } from './parts.ts';
import { svaLayout } from './sva-layout.ts';
import { writeDirectory } from './write-directory.ts';
import { zooLayout } from './zoo-layout.ts';
import { requireFields } from '../../dsl/graph/required.ts';
import { checkFolder } from '../../runtime/files/make-folder.ts';

export interface AssembleOptions {
  /** Directories or repositories, in the order in which the connector reads them. */
  readonly towers: readonly string[];
  /** `sva`, `mlp2x`, `linear`, a connector of the zoo, or one of a file of your own: `./mine.ts`, or `./mine.ts#name` of several. */
  readonly connector: string;
  /** A directory, or a `.gguf` file. */
  readonly language: string;
  /** A directory that is not there yet. */
  readonly out: string;
  /** Visual tokens of a picture, as near as the connector can come; by default what it was published with. */
  readonly tokens?: number | undefined;
  /** Of the connector's weights; 1 by default. */
  readonly seed?: number | undefined;
  readonly note?: ((what: string) => void) | undefined;
  /** Stops it between two pieces of a file; nothing of it stays. */
  readonly signal?: AbortSignal | undefined;
}

export interface Assembled {
  readonly directory: string;
  readonly modelType: string;
  readonly connector: string;
  /** Visual tokens of a picture. */
  readonly tokens: number;
  /** Freshly initialized parameters. */
  readonly fresh: number;
  readonly notes: readonly string[];
}

/**
 * Throws `OpabiniaError` before anything is written for parts that do not go together, and the reason of the signal; the directory is there
 * whole, or not at all.
 * @example await assemble({ towers: ['clip'], connector: 'mlp2x', language: 'llama', out: 'married' })
 */
export async function assemble(options: AssembleOptions): Promise<Assembled> {
  requireFields(
    'assemble',
    options,
    { towers: 'object', connector: 'string', language: 'string', out: 'string' },
    "assemble({ towers: ['clip'], connector: 'mlp2x', language: 'llama', out: 'married' })",
  );
  const { connector, tokens, seed = 1, note, signal } = options;
  const own = await ownConnector(connector);
  if (options.towers.length === 0)
    throw new OpabiniaError('there is no tower', { op: 'assemble', advice: 'give --tower DIR' });
  const out = resolve(options.out);
  checkOut(out);
  const gguf = ggufPaths(options.language)?.language;
  if (gguf !== undefined) {
    // As a directory it is read like any other, and not kept.
    const converted = partialBeside(out);
    mkdirSync(converted);
    try {
      note?.('unpacking the GGUF file');
      await writeGgufDirectory(gguf, converted, signal);
      return await assemble({ ...options, language: converted });
    } finally {
      rmSync(converted, { recursive: true, force: true });
    }
  }
  const language = await readLanguage(options.language);
  try {
    const towers = options.towers.map(readTowerPart);
    checkApart(out, language, towers);
    const { layout, notes } = await marriedParts({ connector, tokens, own }, language, towers);
    checkRoom(out, language, towers, layout);
    await newFolder(out, 'assemble', async (beside) => {
      await writeDirectory(beside, { language, towers, layout, seed, note, signal });
      // What was written is opened as `run` does before it gets its name.
      (await openModel(beside, own === undefined ? {} : { connectors: [own.connector] })).close();
      await breathe(signal);
      checkOut(out);
    });
    const fresh = countParameters(layout.fresh);
    return {
      directory: out,
      modelType: String(layout.json['model_type']),
      connector: layout.title,
      tokens: layout.tokens,
      fresh,
      notes,
    };
  } finally {
    language.opened.close();
  }
}

/** How parts go together, and what a person should know of it; nothing is written. Throws `OpabiniaError` where they do not. */
export async function marriedParts(
  {
    connector,
    tokens,
    own,
  }: Pick<AssembleOptions, 'connector' | 'tokens'> & { readonly own: OwnConnector | undefined },
  language: LanguagePart,
  towers: readonly TowerPart[],
): Promise<{ readonly layout: Layout; readonly notes: readonly string[] }> {
  const layout =
    connector === 'sva'
      ? svaLayout(language, towers, tokens)
      : await zooLayout(own?.connector.name ?? connector, language, towers, tokens, own);
  return { layout, notes: [...layout.notes, ...checkMarriage(language, towers, layout)] };
}

function checkOut(out: string): void {
  if (existsSync(out))
    throw new OpabiniaError(`${out} exists`, { op: 'assemble', advice: 'give a directory that does not exist yet' });
  if (!existsSync(dirname(out)))
    throw new OpabiniaError(`there is no directory ${dirname(out)}`, { op: 'assemble', advice: 'make it first' });
  checkFolder(out, 'assemble');
}

/** Nothing is written into what is read. */
function checkApart(out: string, language: LanguagePart, towers: readonly TowerPart[]): void {
  const place = join(realpathSync(dirname(out)), basename(out));
  const inside = [language, ...towers].find(({ files }) => place.startsWith(realpathSync(files.directory) + sep));
  if (inside !== undefined)
    throw new OpabiniaError(`${out} lies in ${inside.files.directory}, which is read to make it`, {
      op: 'assemble',
      advice: 'give a directory beside it',
    });
}
