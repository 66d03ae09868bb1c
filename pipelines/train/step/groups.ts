// Which parameters learn, and how fast: groups by glob over the paths of a checkpoint.
import { nearestNames, OpabiniaError } from '../../../dsl/index.ts';
import type { Optimizer } from '../optimizers/optimizer.ts';

export interface ParameterGroup {
  /**
   * Globs: `*` stands for any characters, dots among them, `?` for one; a glob may begin at any segment of a path, so that
   * `vision_sampler*` is `model.vision_sampler_0.layers.0.norm.weight` too. A glob after `!` takes paths out again.
   */
  readonly paths: readonly string[];
  /** Learning rate that the schedule multiplies. */
  readonly lr: number;
  /** Default 0. */
  readonly weightDecay?: number | undefined;
  /** Instead of the recipe's. */
  readonly optimizer?: Optimizer | undefined;
}

/** A group with the paths that belong to it. */
export interface ResolvedGroup extends ParameterGroup {
  readonly members: readonly string[];
}

/** Whether a path is meant by a glob. */
export function matchesGlob(path: string, glob: string): boolean {
  return globPattern(glob).test(path);
}

function globPattern(glob: string): RegExp {
  const text = glob
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^(?:.*\\.)?${text}$`, 's');
}

/** Whether a list of globs means a path: one of them does, and none after `!`. */
export function matchesAny(path: string, globs: readonly string[]): boolean {
  return (
    globs.some((glob) => !glob.startsWith('!') && matchesGlob(path, glob)) &&
    !globs.some((glob) => glob.startsWith('!') && matchesGlob(path, glob.slice(1)))
  );
}

/**
 * The groups over the paths that a model reads; a path belongs to the first group that means it, and to none when it is frozen. Throws
 * `OpabiniaError` for a glob that means no path (with the nearest ones), a group that others left nothing, and when nothing learns.
 */
export function resolveGroups(
  groups: readonly ParameterGroup[],
  paths: readonly string[],
  frozen: readonly string[] = [],
): readonly ResolvedGroup[] {
  const refuse = (what: string, advice: string) => new OpabiniaError(what, { op: 'train', advice });
  if (groups.length === 0)
    throw refuse('the recipe trains nothing: it has no groups', "give one: { paths: ['*'], lr: 1e-4 }");
  if (groups.every((group) => group.lr === 0))
    throw refuse(
      'the recipe trains nothing: the learning rate of every group is 0',
      'what no group means is frozen, and needs none',
    );
  for (const glob of [...groups.flatMap((group) => group.paths), ...frozen]) {
    const plain = glob.replace(/^!/, '');
    const pattern = globPattern(plain);
    if (!paths.some((path) => pattern.test(path)))
      throw refuse(
        `the glob '${glob}' means none of the model's ${paths.length} parameters`,
        `the nearest paths are ${nearestPaths(plain, paths).join(', ')}`,
      );
  }
  const left = new Set(paths.filter((path) => !matchesAny(path, frozen)));
  const resolved = groups.map((group): ResolvedGroup => {
    const members = paths.filter((path) => left.has(path) && matchesAny(path, group.paths));
    for (const path of members) left.delete(path);
    return { ...group, members };
  });
  if (resolved.every((group) => group.members.length === 0))
    throw refuse('the recipe trains nothing: every parameter is frozen', 'take a glob out of what is frozen');
  const empty = resolved.find((group) => group.members.length === 0);
  if (empty !== undefined)
    throw refuse(
      `the group '${empty.paths.join(' ')}' has no parameters left: they are frozen or belong to groups before it`,
      'put the narrower group first',
    );
  return resolved;
}

/** By the words of the glob: whole paths are far longer than what a person types. */
function nearestPaths(glob: string, paths: readonly string[]): readonly string[] {
  const bare = glob.replace(/[*?!]+/g, '');
  const tails = new Map<string, string>();
  for (const path of paths.slice(0, 20_000)) {
    const segments = path.split('.');
    const width = Math.max(1, bare.split('.').filter((segment) => segment !== '').length);
    for (let i = 0; i + width <= segments.length; i++) {
      const tail = segments.slice(i, i + width).join('.');
      if (!tails.has(tail)) tails.set(tail, path);
    }
  }
  return nearestNames(bare, [...tails.keys()], 3).map((tail) => `'${tails.get(tail) ?? tail}'`);
}
