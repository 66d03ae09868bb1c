// What a tensor goes through before it meets anything else than a map.
import type { Node } from '../../dsl/graph/graph.ts';

/** More maps than this are not looked at. */
const most = 32;

/** The maps that read a tensor, directly or through other maps. */
export function mapsAfter(node: Node, readers: ReadonlyMap<Node, readonly Node[]>): ReadonlySet<Node> {
  const maps = new Set<Node>();
  const open = [node];
  for (let next = open.pop(); next !== undefined && maps.size < most; next = open.pop()) {
    for (const reader of readers.get(next) ?? []) {
      if (reader.op.kind !== 'map' || maps.has(reader)) continue;
      maps.add(reader);
      open.push(reader);
    }
  }
  return maps;
}
