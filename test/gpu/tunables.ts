// What `tune` could measure of a graph.
import { compile, type Stage } from '../../compiler/compile.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import { tunableOf } from '../../compiler/schedule/index.ts';
import type { Tunable } from '../../compiler/schedule/tiles.ts';
import type { Graph } from '../../dsl/index.ts';

/** Kernels of the graph whose tiles can be chosen, in their order. */
export function tunables(graph: Graph, profile: DeviceProfile): readonly Tunable[] {
  const found: Tunable[] = [];
  const report = (stage: Stage): void => {
    if (stage.name === 'schedule' && stage.which === 'main')
      for (const { group, template } of stage.assembly.steps) {
        const one = tunableOf(group, template, profile);
        if (one !== undefined) found.push(one);
      }
  };
  compile(graph, profile, { report });
  return found;
}
