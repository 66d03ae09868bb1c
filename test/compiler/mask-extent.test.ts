// The loop over keys ends where the row's mask does, exactly where that is the same, as the text of the kernel says.
import { describe, expect, test } from 'vitest';
import { compile, type Stage } from '../../compiler/compile.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { causalCases, type CausalCase } from './causal-cases.ts';

/** Where the loop over keys ends, with every variable replaced by what it was bound to. */
function endOfKeys(wgsl: string): string {
  const turns = /for \(var (?:t|t_start|t_tile) = \w+; \w+ < (.*); \w+ \+= \d+u\)/.exec(wgsl)?.[1];
  // A loop over tiles of keys ends with the tile that holds the last.
  const end = /^\(\((.*) \+ (\d+)u\) \/ \d+u\)$/.exec(turns ?? '')?.[1] ?? turns;
  if (end === undefined) throw new Error(`no loop over keys in\n${wgsl}`);
  const bound = new Map([...wgsl.matchAll(/let (\w+) = (.*);/g)].map(([, name = '', value = '']) => [name, value]));
  let text = end;
  for (let before = ''; before !== text;) {
    before = text;
    text = text.replace(/\b[a-z]\w*\b/g, (name) => (bound.has(name) ? `(${bound.get(name)})` : name));
  }
  return text;
}

function attentionKernel(graph: Graph, profile: typeof lavapipe): string {
  const templates: string[] = [];
  const report = (stage: Stage): void => {
    if (stage.name === 'schedule') templates.push(...stage.assembly.steps.map((step) => step.template));
  };
  const plan = compile(graph, profile, { verify: true, report });
  expect(templates).toEqual([expect.stringMatching(/^attention/)]);
  return plan.kernels[0]?.wgsl ?? '';
}

function caseOf(name: string): CausalCase {
  const make = causalCases[name];
  if (make === undefined) throw new Error(`no case is called ${name}`);
  return make();
}

describe.each([lavapipe, desktopGpu])('on the $name', (profile) => {
  test.each(Object.keys(causalCases))('%s', (name) => {
    const { graph, walks } = caseOf(name);
    const end = endOfKeys(attentionKernel(graph, profile));
    if (walks === 'own') expect(end).toMatch(/\bgroup\b/);
    else expect(end).not.toMatch(/\b(group|thread|lane)\b/);
  });
});

test('a walk that ends early is counted as the graph says', () => {
  const flops = (name: string) =>
    compile(caseOf(name).graph, lavapipe).dispatches.reduce((sum, dispatch) => sum + dispatch.flops, 0);
  expect(flops('key first')).toBe(flops('strictly before'));
});
