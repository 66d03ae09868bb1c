// A connector of a person's own file, as `assemble` takes it: `./mine.ts`, or `./mine.ts#name` where the file exports several.
import { basename } from 'node:path';
import { OpabiniaError } from '../../dsl/index.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import { isPath, listed } from '../compare/registry.ts';

export interface OwnConnector {
  readonly connector: AnyConnector;
  /** What the file is called, and a hash of its text. */
  readonly file: string;
  readonly digest: string;
}

/** Undefined for what is no path. Throws `OpabiniaError` for a file that is not there, does not load, or exports none or several. */
export async function ownConnector(given: string): Promise<OwnConnector | undefined> {
  const [, path = given, name] = /^(.*\.[cm]?[jt]s)#(.+)$/.exec(given) ?? [];
  if (!isPath(path)) return undefined;
  const found = (await listed([path])).map(({ connector }) => connector);
  const [connector, ...more] = name === undefined ? found : found.filter((one) => one.name === name);
  const names = found.map((one) => one.name).join(', ');
  if (connector === undefined)
    throw new OpabiniaError(`${path} exports no connector '${name ?? ''}'`, {
      op: 'assemble',
      advice: `it has ${names}`,
    });
  if (more.length > 0)
    throw new OpabiniaError(`${path} exports several connectors: ${names}`, {
      op: 'assemble',
      advice: `say which: ${path}#${connector.name}`,
    });
  return { connector, file: basename(path), digest: contentKey([], [path]) };
}
