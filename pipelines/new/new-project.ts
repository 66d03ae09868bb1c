// A new project: five files that a person keeps.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { basename, dirname, join, resolve } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { writeFileAtomic } from '../../runtime/files/atomic-file.ts';
import { packageFolder, packageVersion } from '../../runtime/files/package-files.ts';
import { makeFolder, checkFolder } from '../../runtime/files/make-folder.ts';

export const projectFiles = [
  'package.json',
  'tsconfig.json',
  'connector.ts',
  'connector.test.ts',
  'README.md',
] as const;

export interface NewOptions {
  /** What `opabinia` is installed from: a version range or a path; by default this package's own version. */
  readonly opabinia?: string | undefined;
}

/**
 * Writes the project into a folder that is not there yet, or is empty: all of it or nothing. Gives the folder. Throws `OpabiniaError`
 * for a folder with something in it, and for a name that npm does not take.
 */
export function newProject(directory: string, options: NewOptions = {}): string {
  const target = resolve(directory);
  const name = basename(target).toLowerCase();
  const refuse = (what: string, advice: string): never => {
    throw new OpabiniaError(what, { op: 'new', advice });
  };
  if (!/^[a-z0-9][a-z0-9._-]{0,99}$/.test(name))
    refuse(`'${basename(target)}' cannot be the name of a package`, 'letters, digits, dots, dashes and underscores');
  const there = statSync(target, { throwIfNoEntry: false });
  if (there !== undefined && (!there.isDirectory() || readdirSync(target).length > 0))
    refuse(`${target} exists, and is not an empty folder`, 'give the name of a folder that is not there yet');
  checkFolder(target, 'new');
  const template = join(packageFolder(), 'examples', 'new');
  const beside = `${target}.${randomBytes(4).toString('hex')}.partial`;
  makeFolder(dirname(target));
  try {
    mkdirSync(beside);
    for (const file of projectFiles)
      writeFileAtomic(join(beside, file), filled(readFileSync(join(template, file), 'utf8'), file, name, options), {
        op: 'new',
      });
    if (there !== undefined) rmSync(target, { recursive: true });
    renameSync(beside, target);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
  return target;
}

function filled(text: string, file: string, name: string, { opabinia = `^${packageVersion()}` }: NewOptions): string {
  if (file === 'package.json')
    return text.replace('"my-project"', JSON.stringify(name)).replace('"latest"', JSON.stringify(opabinia));
  return file === 'README.md' ? text.replace('# my-project', `# ${name}`) : text;
}
