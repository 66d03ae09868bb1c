// What the identifiers of a kernel say: an axis, or a word for what the variable holds.
import { compile } from '../../compiler/compile.ts';
import { axisStem } from '../../compiler/kernel/names.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { opByName } from '../../dsl/ops/index.ts';

/** A plan, and the names of all axes that its kernels may walk. */
export function planWithAxes(graph: Graph, profile: DeviceProfile): { plan: Plan; axes: ReadonlySet<string> } {
  const axes = new Set<string>();
  const plan = compile(graph, profile, {
    verify: true,
    report: (stage) => {
      if (stage.name !== 'split') return;
      for (const half of [stage.split.load, stage.split.main])
        for (const node of order(half)) for (const axis of node.type.axes) axes.add(axisStem(axis.name));
    },
  });
  return { plan, axes };
}

/** The names of all axes of the tensors that a plan stores, as its texts say. */
export function storedAxes({ kernels }: Plan): ReadonlySet<string> {
  return new Set(
    kernels.flatMap(({ wgsl }) =>
      [...wgsl.matchAll(/^@group.*; \/\/ (.*)$/gm)].flatMap(([, names = '']) => names.split(' ').map(axisStem)),
    ),
  );
}

/** Everything that `main` declares, and workgroup memory. */
export function declared(wgsl: string): readonly string[] {
  const main = wgsl.slice(wgsl.indexOf('@compute'));
  return [
    ...[...wgsl.matchAll(/^var<workgroup> (\w+):/gm)].map(([, name = '']) => name),
    ...[...main.matchAll(/@builtin\(\w+\) (\w+):/g)].map(([, name = '']) => name),
    ...[...main.matchAll(/\b(?:let|var) (\w+)/g)].map(([, name = '']) => name),
  ];
}

/** Words that stand for anything. */
const empty = new Set(['item', 'acc', 'idx', 'tmp', 'temp', 'val']);

/** Declared names that say nothing: of one or two characters where no axis is called so, or words that stand for anything. */
export function unreadable(wgsl: string, axes: ReadonlySet<string>): readonly string[] {
  return declared(wgsl).filter((name) => {
    const stem = name.replace(/_\d+$/, '');
    if (axes.has(name) || axes.has(stem) || opByName(stem) !== undefined) return false;
    return stem.length <= 2 || empty.has(stem) || /^[a-z]{1,2}\d+$/.test(stem);
  });
}
