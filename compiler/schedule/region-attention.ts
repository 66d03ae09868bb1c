// What the kernels of attention over the tokens of a region have in common: a workgroup takes a region, all of its heads. In workgroup memory is one
// table of heads × keys, of logits first and then of their weights. What the templates differ in is who computes which score, and which mean.
import { type Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { code, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import type { Group, Regions } from '../fuse/group.ts';
import type { RegionAttention, RegionPart } from '../match/attention/region-attention.ts';
import { add, constantIndex, divide, remainder, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { Block, Kernel } from '../kernel/kernel.ts';
import { axisStem } from '../kernel/names.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import { flatten, indexAlong, type IndexMap } from '../kernel/storage.ts';
import type { DeviceProfile } from '../profile.ts';
import {
  count,
  elementAt,
  flatStem,
  Frame,
  indexVariable,
  isQuartered,
  lineGrid,
  namedAxes,
  reduceComponents,
  walkAxes,
  type Context,
} from './frame.ts';
import { reduceLevels } from './levels.ts';

export type RegionGroup = Extract<Group, { template: 'region' }>;

/** Numbers of the table, at most: a thread walks a row of it for each head. */
const mostKeys = 64;
const mostLogits = 2048;

/**
 * Regions of few keys and few heads. On a GPU the norm of the tokens is made beside: they are read a few times more, by then from a cache,
 * and neither stored nor launched for; on a software device loads are what costs.
 */
export function regionsOf(profile: DeviceProfile): Regions {
  return {
    norms: !profile.software,
    fits: ({ keys, heads }) => keys <= mostKeys && keys * count(heads).most <= mostLogits,
  };
}

/** The threads of a workgroup, and what an own index of each is called. */
export interface Crew {
  readonly threads: number;
  readonly name: 'thread' | 'lane';
}

export class RegionKernel {
  readonly frame: Frame;
  readonly region: RegionAttention;
  readonly rows: Index;
  /** Scores, then weights: `keys` to a row. */
  readonly #table: string;
  /** What threads have summed of what several sum together. */
  readonly #partial: string;
  readonly #group: RegionGroup;
  readonly #crew: Crew;
  readonly #self: Index;
  #at: IndexMap = new Map();

  constructor(group: RegionGroup, context: Context, crew: Crew, partials: number) {
    this.#group = group;
    this.#crew = crew;
    this.region = group.region;
    this.frame = new Frame(context, group);
    this.rows = count(this.region.heads);
    this.#self = indexVariable(crew.name, constantIndex(crew.threads));
    this.#table = this.frame.share('weights', 'f32', Math.max(1, this.rows.most * this.region.keys));
    this.#partial = this.frame.share('partial', 'f32', partials);
  }

  /** The kernel: scores of a part, which go to `keepScore` for each head and token, and its means. */
  kernel(
    template: string,
    scores: (body: Block, part: RegionPart) => (head: Index, token: Index) => string,
    means: (body: Block, part: RegionPart) => void,
    subgroups: boolean,
  ): Kernel {
    const { frame, region } = this;
    const regions = count(region.batch);
    const line = lineGrid(regions, frame.context.profile.maxGrid);
    const item = frame.body.index(flatStem(region.batch), line.item, regions);
    this.#at = namedAxes(frame.body, item, region.batch);
    frame.body.when(line.exact ? 'true' : `${indexText(item)} < ${indexText(regions)}`, (body) => {
      for (const part of region.parts) {
        this.#normalise(body, part);
        const sumOf = scores(body, part);
        body.barrier();
        frame.lowering.held.set(part.scores, (block, index) =>
          block.let('score', code(sumOf(this.rowOf(index), indexAlong(index, region.softmax.axis)), 'f32')),
        );
        this.#logits(body, part);
        body.barrier();
      }
      for (const range of region.ranges)
        if (!region.parts.some((part) => part.start === range.start)) this.#logits(body, range);
      body.barrier();
      this.#weigh(body);
      body.barrier();
      for (const part of region.parts) means(body, part);
      for (const product of region.sums) this.#sum(body, product);
    });
    return frame.finish(template, this.#crew.threads, line.grid, { subgroups });
  }

  get self(): Index {
    return this.#self;
  }

  partial(place: Index): string {
    return `${this.#partial}[${indexText(place)}]`;
  }

  /** The weight of a key of a head. */
  weight(head: Index, key: Index): Code {
    return code(`${this.#table}[${indexText(add(scale(head, this.region.keys), key))}]`, 'f32');
  }

  /** Vectors of four of a token, where it has such. */
  widthOf({ depth }: RegionPart): Width {
    return isQuartered(depth) ? 4 : 1;
  }

  /** Vectors or elements of a token. */
  unitsOf(part: RegionPart): Index {
    return divide(count([part.depth]), constantIndex(this.widthOf(part)));
  }

  token(block: Block, part: RegionPart, token: Index, unit: Index): Code {
    const at = new Map(this.#at).set(this.region.softmax.axis, token).set(...this.#along(part, unit));
    return this.#value(block, part.tokens, at, this.widthOf(part));
  }

  query(block: Block, part: RegionPart, head: Index, unit: Index): Code {
    const at = new Map([...this.#at, ...this.#heads(block, head)]).set(...this.#along(part, unit));
    return this.#value(block, part.query, at, this.widthOf(part));
  }

  /** A score and what one unit of a query and a token add to it. */
  scored(score: Code, query: Code, token: Code): Code {
    return query.type === 'f32'
      ? wgsl`fma(${query}, ${token}, ${score})`
      : code(`${score.text} + dot(${query.text}, ${token.text})`, 'f32', token.needs);
  }

  storeMean(block: Block, part: RegionPart, head: Index, unit: Index, value: Code): void {
    const at = new Map([...this.#at, ...this.#heads(block, head)]).set(...this.#along(part, unit));
    const { lowering, context } = this.frame;
    lowering.store(block, context.target(part.mean), at, value, this.widthOf(part));
  }

  /** Turns that threads take together: each every `threads / share`-th of `n`, from its own. */
  each(body: Block, stem: string, n: Index, write: (body: Block, index: Index) => void, share = 1): void {
    const from = share === 1 ? this.#self : divide(this.#self, constantIndex(share));
    body.loop(stem, n, write, { from, step: this.#crew.threads / share });
  }

  /** A flat index over the heads. */
  rowOf(index: IndexMap): Index {
    return flatten(this.region.heads, index);
  }

  #heads(block: Block, head: Index): IndexMap {
    return namedAxes(block, head, this.region.heads);
  }

  #along(part: RegionPart, unit: Index): [string, Index] {
    return [part.depth.name, elementAt(unit, this.widthOf(part))];
  }

  #value(block: Block, node: Node, at: IndexMap, width: Width): Code {
    return splat(this.frame.lowering.value(block, node, at, width), typeOf('f32', width));
  }

  /** The logits of a range of keys, from their scores. */
  #logits(body: Block, { start, size }: { readonly start: number; readonly size: number }): void {
    const { frame, region } = this;
    const keys = constantIndex(size);
    this.each(body, 'pair', scale(this.rows, size), (block, pair) => {
      const [head, key] = [divide(pair, keys), add(remainder(pair, keys), constantIndex(start))];
      const at = new Map([...this.#at, ...this.#heads(block, head)]).set(region.softmax.axis, key);
      const logit = frame.lowering.value(block, region.softmax.logits, at, 1);
      block.assign(this.weight(head, key).text, logit);
    });
  }

  /** Softmax in place, a row of the table to a thread; the table is what logits are from here on, and then weights. */
  #weigh(body: Block): void {
    const { frame, region } = this;
    const { lowering, context } = frame;
    const { axis, largest, total, logits } = region.softmax;
    const [powers] = total.inputs;
    if (powers === undefined) throw new TypeError('a sum of nothing');
    const inTable = (_block: Block, index: IndexMap): Code => this.weight(this.rowOf(index), indexAlong(index, axis));
    lowering.held.set(logits, inTable);
    this.each(body, flatStem(region.heads), this.rows, (block, head) => {
      const at = new Map([...this.#at, ...this.#heads(block, head)]);
      const reduced = (reduction: Node, of: Node): void => {
        const op = reduction.op as ReduceOp;
        const identity = literal(op.identityOf(reduction.type.dtype), computeType(reduction.type.dtype));
        const running = block.var(`running_${op.name}`, identity);
        block.loop(axisStem(axis), constantIndex(region.keys), (inside, key) =>
          inside.assign(running.text, op.wgsl(running, lowering.value(inside, of, new Map(at).set(axis, key), 1))),
        );
        lowering.held.set(reduction, () => running);
      };
      reduced(largest, logits);
      reduced(total, powers);
      block.loop(axisStem(axis), constantIndex(region.keys), (inside, key) => {
        const own = new Map(at).set(axis, key);
        const weight = inside.let('weight', lowering.value(inside, region.weights, own, 1));
        if (this.#group.roots.includes(region.weights))
          lowering.store(inside, context.target(region.weights), own, weight, 1);
        inside.assign(this.weight(head, key).text, weight);
      });
    });
    lowering.held.set(region.weights, inTable);
  }

  /** Weights times the values of keys that are no part's. */
  #sum(body: Block, product: Node): void {
    const { lowering, context } = this.frame;
    const [a, b] = product.inputs;
    if (a === undefined || b === undefined) throw new TypeError('a contraction without operands');
    const { sum } = roles(a.type, b.type, product.type);
    const axes = product.type.axes.filter(({ name }) => !this.#at.has(name));
    const isWide = isQuartered(axes.at(-1)) && axes.at(-1) === product.type.axes.at(-1);
    const width: Width = isWide ? 4 : 1;
    const type = typeOf('f32', width);
    this.each(body, flatStem(axes, width), divide(count(axes), constantIndex(width)), (block, item) => {
      const at = new Map([...this.#at, ...namedAxes(block, elementAt(item, width), axes)]);
      const total = block.var('sum', splat(literal(0, 'f32'), type));
      walkAxes(block, sum, new Map(), (inside, summed) => {
        const [x, y] = [a, b].map((node) =>
          splat(lowering.value(inside, node, new Map([...at, ...summed]), width), type),
        );
        if (x !== undefined && y !== undefined) inside.assign(total.text, wgsl`fma(${x}, ${y}, ${total})`);
      });
      lowering.store(block, context.target(product), at, total, width);
    });
  }

  /** What the norm of a part's tokens reduces, one number a token, some threads to each. */
  #normalise(body: Block, part: RegionPart): void {
    const { frame, region } = this;
    const { norm, size, tokens } = part;
    if (norm === undefined) return;
    const inner = (name: string): string => norm.names.get(name) ?? name;
    const width = this.widthOf(part);
    const together = threadsEach(this.#crew.threads, size);
    const lane = remainder(this.#self, constantIndex(together));
    const at = (token: Index, unit?: Index): IndexMap => {
      const own = new Map(this.#at).set(region.softmax.axis, token);
      if (unit !== undefined) own.set(...this.#along(part, unit));
      return new Map(
        tokens.type.axes.flatMap(({ name }: Axis) => {
          const index = own.get(name);
          return index === undefined ? [] : [[inner(name), index] as const];
        }),
      );
    };
    const tokenAxis = inner(region.softmax.axis);
    for (const level of reduceLevels(norm.reductions, this.#group.nodes))
      for (const reduction of level) {
        const [of] = reduction.inputs;
        if (of === undefined) continue;
        const op = reduction.op as ReduceOp;
        const found = frame.share('statistic', 'f32', size);
        const identity = literal(op.identityOf(reduction.type.dtype), 'f32');
        this.each(
          body,
          axisStem(tokenAxis),
          constantIndex(size),
          (block, token) => {
            const own = block.var(`running_${op.name}`, splat(identity, typeOf('f32', width)));
            block.loop(
              flatStem([part.depth], width),
              this.unitsOf(part),
              (inside, unit) => inside.assign(own.text, op.wgsl(own, this.#value(inside, of, at(token, unit), width))),
              { from: lane, step: together },
            );
            block.assign(this.partial(add(scale(token, together), lane)), reduceComponents(block, op, own));
          },
          together,
        );
        body.barrier();
        this.each(body, axisStem(tokenAxis), constantIndex(size), (block, token) => {
          const all = block.var(`running_${op.name}`, identity);
          block.loop('share', constantIndex(together), (inside, i) =>
            inside.assign(all.text, op.wgsl(all, code(this.partial(add(scale(token, together), i)), 'f32'))),
          );
          block.assign(`${found}[${indexText(token)}]`, all);
        });
        body.barrier();
        frame.lowering.held.set(reduction, (_block, index) =>
          code(`${found}[${indexText(indexAlong(index, tokenAxis))}]`, 'f32'),
        );
      }
  }
}

/** Threads for each of `n` items, a power of two. */
export function threadsEach(threads: number, n: number): number {
  let each = 1;
  while (2 * each * n <= threads) each *= 2;
  return each;
}
