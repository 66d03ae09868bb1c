// A folder is its registry: every module in it, imported.
import { readdirSync } from 'node:fs';

export interface FolderModule {
  /** The file's name without its ending. */
  readonly name: string;
  /** The folder it lies in, below the one that was asked for; '' for that itself. */
  readonly folder: string;
  readonly url: string;
  readonly exports: Readonly<Record<string, unknown>>;
}

/** Modules of a folder and of the folders in it, by name. They are TypeScript in the sources and JavaScript in the built package. */
export async function importFolder(folder: URL): Promise<readonly FolderModule[]> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => /\.[jt]s$/.test(file) && !file.endsWith('.d.ts'))
    .sort();
  return Promise.all(
    files.map(async (file) => {
      const { href } = new URL(file, folder);
      const exports = (await import(href)) as Readonly<Record<string, unknown>>;
      const [name = '', ...folders] = file.split('/').reverse();
      return { name: name.replace(/\.[jt]s$/, ''), folder: folders.reverse().join('/'), url: href, exports };
    }),
  );
}
