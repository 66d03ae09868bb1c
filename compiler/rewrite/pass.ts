// Runs passes: a table of rules walked over a graph bottom up, or a function from graph to graph. Each is named, counted and verified.
import { OpabiniaError } from '../../dsl/error.ts';
import { Builder, describe, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order, readersOf, roots } from '../../dsl/graph/walk.ts';
import { choicesOf, type Choices, type DeviceProfile } from '../profile.ts';
import { rebuilt } from './rebuilt.ts';
import { Rewriter, type Uses } from './rewriter.ts';
import type { Rule } from './rules.ts';
import { verifyGraph } from './verify-graph.ts';

/** How often each rule fired. */
export type Fired = ReadonlyMap<string, number>;

/** Rules walked over the graph once, to a fixpoint at each node. */
export interface RulePass {
  readonly name: string;
  readonly why: string;
  readonly rules: readonly Rule[];
}

/**
 * A rewrite that needs the whole graph in view. Calls `fire` with a rule's name for each change. `profile`: of the device that is compiled
 * for, where there is one.
 */
export interface GraphPass {
  readonly name: string;
  readonly why: string;
  run(graph: Graph, builder: Builder, fire: (rule: string) => void, profile?: DeviceProfile): Graph;
}

export type Pass = RulePass | GraphPass;

export interface PassReport {
  readonly pass: Pass;
  readonly graph: Graph;
  readonly fired: Fired;
  readonly milliseconds: number;
}

export interface PassOptions {
  /** Checks every invariant after every pass; on in tests. */
  readonly verify?: boolean;
  /** Where the nodes are made; the graph is copied into it first, so that a closed trace can be rewritten. */
  readonly builder?: Builder;
  /** The device that is compiled for, where rules ask what pays on it. */
  readonly profile?: DeviceProfile;
}

/**
 * The graph after all passes in order. Throws `OpabiniaError` when a pass breaks it, or rules undo one another.
 * @example print(runPasses(graph, passes))
 */
export function runPasses(
  graph: Graph,
  passes: readonly Pass[],
  report?: (stage: PassReport) => void,
  options: PassOptions = {},
): Graph {
  const builder = options.builder ?? new Builder();
  const choices = choicesOf(options.profile);
  let current = transplant(graph, builder);
  if (options.verify === true) verifyGraph(current, 'trace', graph);
  for (const pass of passes) {
    const start = performance.now();
    const fired = new Map<string, number>();
    const fire = (rule: string) => {
      fired.set(rule, (fired.get(rule) ?? 0) + 1);
    };
    const next =
      'rules' in pass
        ? applyRules(current, pass, builder, fire, choices)
        : pass.run(current, builder, fire, options.profile);
    if (options.verify === true) verifyGraph(next, pass.name, current);
    current = next;
    report?.({ pass, graph: current, fired, milliseconds: performance.now() - start });
  }
  return current;
}

/** The same graph made of nodes of another builder. */
export function transplant(graph: Graph, builder: Builder): Graph {
  const copies = new Map<Node, Node>();
  for (const node of order(graph)) {
    copies.set(
      node,
      builder.remake(
        node,
        node.inputs.map((input) => must(copies, input)),
      ),
    );
  }
  return mapGraph(graph, (node) => must(copies, node));
}

/** A node on the way: first its operands are settled, then what a rule made of it. */
type Frame =
  | { readonly node: Node; readonly rebuilt: undefined }
  | { readonly node: Node; readonly rebuilt: Node; readonly replacement: Node };

function applyRules(
  graph: Graph,
  pass: RulePass,
  builder: Builder,
  fire: (rule: string) => void,
  choices: Choices,
): Graph {
  const nodes = order(graph);
  const before = readersOf(nodes);
  const settled = new Map<Node, Node>();
  const readers = new Map<Node, readonly Node[]>();
  const asked = new Set(roots(graph));
  const leaving = new Set<Node>();
  const uses: Uses = {
    // Rules follow readers upwards, from a rewritten node to nodes as they were.
    readers: (node) => readers.get(node) ?? before.get(node) ?? [],
    leaves: (node) => leaving.has(node) || asked.has(node),
  };
  const byOp = new Map<string, readonly Rule[]>();
  const rulesFor = (node: Node): readonly Rule[] => {
    let rules = byOp.get(node.op.name);
    if (rules === undefined) {
      rules = pass.rules.filter((rule) => rule.heads.includes(node.op.name) || rule.heads.includes(node.op.kind));
      byOp.set(node.op.name, rules);
    }
    return rules;
  };
  // Every rule makes the graph smaller in some measure; two that undo one another would go on for ever.
  let fuel = 64 * nodes.length + 4096;
  const rewrite = (node: Node): Node | undefined => {
    const rules = rulesFor(node);
    if (rules.length === 0) return undefined;
    const rewriter = new Rewriter(builder, node.origin, uses, choices);
    for (const rule of rules) {
      const next = rule.apply(node, rewriter);
      if (next === undefined || next === node) continue;
      fire(rule.name);
      if (--fuel < 0)
        throw new OpabiniaError(`rewriting did not terminate, last '${rule.name}' at ${describe(node)}`, {
          op: pass.name,
          path: node.origin.path,
          place: node.origin.place,
        });
      return next;
    }
    return undefined;
  };

  /** The node of settled operands, with what a rule makes of it. */
  const rebuild = (node: Node): { readonly rebuilt: Node; readonly replacement: Node } => {
    const own = rebuilt(node, (input) => must(settled, input), builder);
    return { rebuilt: own, replacement: settled.get(own) ?? rewrite(own) ?? own };
  };

  const settle = (start: Node): void => {
    const stack: Frame[] = [{ node: start, rebuilt: undefined }];
    for (let frame = stack.pop(); frame !== undefined; frame = stack.pop()) {
      const { node } = frame;
      if (frame.rebuilt === undefined) {
        if (settled.has(node)) continue;
        const unsettled = node.inputs.find((input) => !settled.has(input));
        if (unsettled === undefined) stack.push({ node, ...rebuild(node) });
        else stack.push(frame, { node: unsettled, rebuilt: undefined });
        continue;
      }
      const { rebuilt: own, replacement } = frame;
      const result = replacement === own ? own : settled.get(replacement);
      if (result === undefined) {
        stack.push(frame, { node: replacement, rebuilt: undefined });
        continue;
      }
      for (const done of [node, own, result]) settled.set(done, result);
    }
  };

  for (const node of nodes) {
    settle(node);
    const result = must(settled, node);
    const old = before.get(node) ?? [];
    const known = readers.get(result);
    if (asked.has(node)) leaving.add(result);
    readers.set(result, known === undefined ? old : [...new Set([...known, ...old])]);
  }
  return mapGraph(graph, (node) => must(settled, node));
}
