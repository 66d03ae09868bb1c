// All connectors: those of the folders, and those that a user's file exports.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { OpabiniaError } from '../../dsl/error.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import { isConnector, type AnyConnector } from '../../models/connectors/connector.ts';
import { importFolder } from '../folder.ts';
import { importOwn } from '../own-module.ts';

export interface Listed {
  readonly connector: AnyConnector;
  /** The folder below `models/connectors`, or the user's file. */
  readonly family: string;
  /** The module that exports it. */
  readonly url: string;
}

const root = new URL('../../models/connectors/', import.meta.url);

/** Every connector of the folders, by family and name. The built package has an index beside the folders, which exports all of them once more. */
export async function zoo(folder = root): Promise<readonly Listed[]> {
  const modules = await importFolder(folder);
  return modules
    .filter(({ folder: family }) => family !== '')
    .flatMap(({ folder: family, url, exports }) =>
      Object.values(exports)
        .filter(isConnector)
        .map((connector) => ({ connector, family, url })),
    );
}

/**
 * The connectors that are asked for, by name or by file; all where none is named. Throws `OpabiniaError` for an unknown name (with the
 * nearest), for a file that is not there or does not load, and for one that exports no connector.
 */
export async function listed(names: readonly string[]): Promise<readonly Listed[]> {
  const all = await zoo();
  if (names.length === 0) return all;
  const found = await Promise.all(names.map(async (name) => (isPath(name) ? fromFile(name) : [fromZoo(all, name)])));
  return found.flat();
}

/** Whether what is asked for is a file of one's own, rather than a name. */
export function isPath(name: string): boolean {
  return /[/\\]|\.[cm]?[jt]s$/.test(name) && (name.includes('/') || name.includes('\\') || existsSync(name));
}

function fromZoo(all: readonly Listed[], name: string): Listed {
  const found = all.find(({ connector }) => connector.name === name);
  if (found !== undefined) return found;
  const known = all.map(({ connector }) => connector.name);
  throw new OpabiniaError(`there is no connector '${name}'`, {
    op: 'compare',
    advice: nameAdvice(name, known, '`opabinia compare` lists all; a file of your own begins with ./'),
  });
}

async function fromFile(path: string): Promise<readonly Listed[]> {
  const full = resolve(path);
  if (!existsSync(full))
    throw new OpabiniaError(`there is no file ${path}`, { op: 'compare', advice: 'give a path to a TypeScript file' });
  const connectors = Object.values(await importOwn(path, 'compare')).filter(isConnector);
  if (connectors.length === 0)
    throw new OpabiniaError(`${path} exports no connector`, {
      op: 'compare',
      advice: 'export const mine = connector({ … }): see docs/tutorial.md',
    });
  return connectors.map((connector) => ({ connector, family: path, url: pathToFileURL(full).href }));
}
