// The facts of this machine that a advice depends on.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Machine } from './advice.ts';

export function thisMachine(): Machine {
  const folder = '/etc/apt/sources.list.d';
  const files = [
    '/etc/apt/sources.list',
    ...names(folder)
      .filter((name) => /\.(list|sources)$/.test(name))
      .map((name) => join(folder, name)),
  ];
  return {
    platform: process.platform,
    root: process.getuid?.() === 0,
    release: textOf('/etc/os-release'),
    aptSources: files.map(textOf).join('\n\n'),
  };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // not this system's file
  }
}

function names(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
