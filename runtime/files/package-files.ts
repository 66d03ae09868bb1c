// Where this package lies, and which versions of it and of others are here: in the sources and in the built package alike.
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { dirname } from 'node:path';

/** The folder of this package. */
export function packageFolder(): string {
  const found = findPackageJSON('..', import.meta.url);
  if (found === undefined) throw new TypeError('opabinia lies in no package');
  return dirname(found);
}

/** The version of this package, or of one that it finds; `unknown` where it finds none. */
export function packageVersion(name?: string): string {
  return installedVersion(name ?? '..') ?? 'unknown';
}

/** The version of a package; undefined where it is not installed. */
export function installedVersion(name: string): string | undefined {
  try {
    const path = findPackageJSON(name, import.meta.url);
    const json: unknown = path === undefined ? {} : JSON.parse(readFileSync(path, 'utf8'));
    return typeof json === 'object' && json !== null && 'version' in json ? String(json.version) : undefined;
  } catch {
    return undefined;
  }
}

/** A module beside another one, which is TypeScript in the sources and JavaScript in the built package. */
export function siblingModule(url: string, name: string): URL {
  return new URL(`./${name}${url.endsWith('.ts') ? '.ts' : '.js'}`, url);
}
