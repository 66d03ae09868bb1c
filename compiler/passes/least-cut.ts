// The cheapest set of vertices that parts what is wanted from where it comes from (Menger's theorem; Dinic 1970 finds it).

/** A directed network of vertices that each cost something to cut. */
export interface Network {
  /** Cost of each vertex; `Infinity`: it cannot be cut. */
  readonly costs: readonly number[];
  /** From each vertex, those that it leads on to. */
  readonly next: readonly (readonly number[])[];
  readonly starts: readonly number[];
  readonly ends: ReadonlySet<number>;
}

/**
 * The vertices of the cheapest cut between starts and ends; of several, the one nearest to the starts. Every way from a start to an end
 * must go through a vertex of finite cost, which may be the start or the end itself.
 */
export function leastCut({ costs, next, starts, ends }: Network): ReadonlySet<number> {
  // Each vertex is an edge from its entry, 2v, to its exit, 2v + 1: what flows through it is at most its cost.
  const [source, sink] = [2 * costs.length, 2 * costs.length + 1];
  const flow = new Flow(sink + 1);
  costs.forEach((cost, v) => flow.edge(2 * v, 2 * v + 1, cost));
  next.forEach((others, v) => others.forEach((other) => flow.edge(2 * v + 1, 2 * other, Infinity)));
  for (const start of starts) flow.edge(source, 2 * start, Infinity);
  for (const end of ends) flow.edge(2 * end + 1, sink, Infinity);
  while (flow.level(source, sink)) while (flow.push(source, sink) > 0);
  return new Set(costs.flatMap((_, v) => (flow.reached(2 * v) && !flow.reached(2 * v + 1) ? [v] : [])));
}

/** Residual capacities; an edge and its reverse lie side by side. */
class Flow {
  readonly #edges: number[][];
  readonly #to: number[] = [];
  readonly #left: number[] = [];
  #levels: Int32Array;
  #tried: Int32Array;

  constructor(vertices: number) {
    this.#edges = Array.from({ length: vertices }, () => []);
    this.#levels = new Int32Array(vertices);
    this.#tried = new Int32Array(vertices);
  }

  edge(from: number, to: number, capacity: number): void {
    this.#edges[from]?.push(this.#to.push(to) - 1);
    this.#edges[to]?.push(this.#to.push(from) - 1);
    this.#left.push(capacity, 0);
  }

  /** Distances from the source where something can still flow; true when the sink has one. */
  level(source: number, sink: number): boolean {
    this.#levels = new Int32Array(this.#edges.length).fill(-1);
    this.#tried = new Int32Array(this.#edges.length);
    this.#levels[source] = 0;
    const queue = [source];
    for (const at of queue)
      for (const edge of this.#edges[at] ?? []) {
        const to = this.#to[edge] ?? 0;
        if ((this.#left[edge] ?? 0) <= 0 || this.#levels[to] !== -1) continue;
        this.#levels[to] = (this.#levels[at] ?? 0) + 1;
        queue.push(to);
      }
    return this.reached(sink);
  }

  reached(vertex: number): boolean {
    return this.#levels[vertex] !== -1;
  }

  /** Sends what it can along one shortest way; 0 when there is none left. An explicit stack: ways are as long as models are deep. */
  push(source: number, sink: number): number {
    const way: number[] = [];
    let at = source;
    while (at !== sink) {
      const edges = this.#edges[at] ?? [];
      const tried = this.#tried[at] ?? 0;
      const edge = edges[tried];
      if (edge === undefined) {
        const back = way.pop();
        if (back === undefined) return 0;
        at = this.#to[back ^ 1] ?? source;
        this.#tried[at] = (this.#tried[at] ?? 0) + 1;
        continue;
      }
      const to = this.#to[edge] ?? 0;
      if ((this.#left[edge] ?? 0) > 0 && this.#levels[to] === (this.#levels[at] ?? 0) + 1) {
        way.push(edge);
        at = to;
      } else this.#tried[at] = tried + 1;
    }
    const sent = way.reduce((least, edge) => Math.min(least, this.#left[edge] ?? 0), Infinity);
    for (const edge of way) {
      this.#left[edge] = (this.#left[edge] ?? 0) - sent;
      this.#left[edge ^ 1] = (this.#left[edge ^ 1] ?? 0) + sent;
    }
    return sent;
  }
}
