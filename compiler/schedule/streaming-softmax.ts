// One query row of attention over a stream of keys: a running maximum and sum, and a weighted sum of the values that is rescaled when the
// maximum grows (online softmax: Milakov and Gimelshein 2018). What the templates differ in is who walks which keys, and where the query lies.
import { storeRoots, storeStatistics } from './epilogue.ts';
import type { Axis } from '../../dsl/axis/axis.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { reduceMax } from '../../dsl/ops/reduce.ts';
import { code, literal, splat, wgsl, type Code } from '../../dsl/wgsl.ts';
import { seenKeys } from '../match/attention/mask-extent.ts';
import type { Group } from '../fuse/group.ts';
import { innerAxes } from '../match/attention/attention.ts';
import { constantIndex, divide, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { Block } from '../kernel/kernel.ts';
import { axisStem } from '../kernel/names.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { count, elementAt, flatStem, isQuartered, type Frame } from './frame.ts';

/** What a masked or absent key scores: far below anything real, and finite, because WGSL may assume that infinities do not occur. */
export const lowest = literal(-3.0e38, 'f32');

/** The larger of two logits: both are finite, so that `max` alone is enough. */
export const largest: ReduceOp = { ...reduceMax, wgsl: (a, b) => wgsl`max(${a}, ${b})` };

/** The turns of a loop that one thread takes: from `from`, every `step`-th. Without it, a thread takes all. */
export interface Walk {
  readonly from: Index;
  readonly step: number;
}

/** The largest logit so far, and the sum of e^(logit − largest). */
export interface Running {
  readonly top: Code;
  readonly total: Code;
}

type AttentionGroup = Extract<Group, { template: 'attention' }>;

/** Writes the parts of one row's attention; `index` says where the row lies along every query axis. Throws `TypeError` without the three axes. */
export class StreamingRow {
  readonly depthUnits: Index;
  readonly depthType: Code['type'];
  readonly widthUnits: Index;
  readonly widthType: Code['type'];
  /** What a loop over `widthUnits` counts. */
  readonly widthStem: string;
  readonly #depthStem: string;
  readonly #frame: Frame;
  readonly #group: AttentionGroup;
  readonly #keyAxis: Axis;
  readonly #depthAxis: Axis;
  readonly #widthAxis: Axis;
  readonly #depthWidth: Width;
  readonly #widthWidth: Width;

  constructor(frame: Frame, group: AttentionGroup) {
    const { key: keyAxis, depth: depthAxis, width: widthAxis } = innerAxes(group.attention);
    this.#frame = frame;
    this.#group = group;
    this.#keyAxis = keyAxis;
    this.#depthAxis = depthAxis;
    this.#widthAxis = widthAxis;
    this.#depthWidth = isQuartered(depthAxis) ? 4 : 1;
    this.#widthWidth = isQuartered(widthAxis) ? 4 : 1;
    this.depthUnits = divide(count([depthAxis]), constantIndex(this.#depthWidth));
    this.widthUnits = divide(count([widthAxis]), constantIndex(this.#widthWidth));
    this.widthStem = flatStem([widthAxis], this.#widthWidth);
    this.#depthStem = flatStem([depthAxis], this.#depthWidth);
    this.depthType = typeOf('f32', this.#depthWidth);
    this.widthType = typeOf('f32', this.#widthWidth);
  }

  /** The query, into memory of `depthUnits` elements. */
  loadQuery(body: Block, index: IndexMap, memory: string, walk?: Walk): void {
    body.loop(
      this.#depthStem,
      this.depthUnits,
      (inside, d) => {
        const at = new Map(index).set(this.#depthAxis.name, elementAt(d, this.#depthWidth));
        inside.assign(
          `${memory}[${indexText(d)}]`,
          splat(this.#frame.lowering.value(inside, this.#group.attention.query, at, this.#depthWidth), this.depthType),
        );
      },
      walk,
    );
  }

  /** Walks the keys that the row sees; `result`, of `widthUnits` elements, becomes Σ e^(logit − top) · value. */
  stream(body: Block, index: IndexMap, query: string, result: string, walk?: Walk): Running {
    const { attention } = this.#group;
    const { lowering } = this.#frame;
    body.loop(this.widthStem, this.widthUnits, (inside, d) =>
      inside.assign(`${result}[${indexText(d)}]`, splat(literal(0, 'f32'), this.widthType)),
    );
    const top = body.var('largest', lowest);
    const total = body.var('total', literal(0, 'f32'));
    body.loop(
      axisStem(this.#keyAxis.name),
      count([this.#keyAxis]),
      (each, key) => {
        const at = new Map(index).set(this.#keyAxis.name, key);
        const score = this.#score(each, at, query);
        lowering.held.set(attention.scores, () => score);
        const logit = each.let('logit', lowering.value(each, attention.logits, at, 1));
        const next = each.let('next', wgsl`max(${top}, ${logit})`);
        const decay = each.let('decay', code(`exp(${top.text} - ${next.text})`, 'f32'));
        const weight = each.let('weight', code(`exp(${logit.text} - ${next.text})`, 'f32'));
        each.assign(top.text, next);
        each.assign(total.text, wgsl`fma(${total}, ${decay}, ${weight})`);
        each.loop(this.widthStem, this.widthUnits, (inside, d) => {
          const v = this.valueUnit(inside, at, d);
          const o = code(`${result}[${indexText(d)}]`, this.widthType);
          inside.assign(
            o.text,
            wgsl`fma(${splat(weight, this.widthType)}, ${v}, (${o} * ${splat(decay, this.widthType)}))`,
          );
        });
      },
      { ...walk, endText: this.end(body, index) },
    );
    return { top, total };
  }

  /** query · key */
  #score(body: Block, at: IndexMap, query: string): Code {
    const score = body.var('score', literal(0, 'f32'));
    body.loop(this.#depthStem, this.depthUnits, (inside, d) =>
      inside.assign(score.text, this.withUnit(score, query, d, this.keyUnit(inside, at, d))),
    );
    return score;
  }

  /** Unit `d` of the key at `at`. */
  keyUnit(body: Block, at: IndexMap, d: Index): Code {
    const index = new Map(at).set(this.#depthAxis.name, elementAt(d, this.#depthWidth));
    const { lowering } = this.#frame;
    return splat(lowering.value(body, this.#group.attention.key, index, this.#depthWidth), this.depthType);
  }

  /** Unit `d` of the value at `at`. */
  valueUnit(body: Block, at: IndexMap, d: Index): Code {
    const index = new Map(at).set(this.#widthAxis.name, elementAt(d, this.#widthWidth));
    const { lowering } = this.#frame;
    return splat(lowering.value(body, this.#group.attention.value, index, this.#widthWidth), this.widthType);
  }

  /** A score and what unit `d` of query and key add to it. */
  withUnit(score: Code, query: string, d: Index, k: Code): Code {
    const q = code(`${query}[${indexText(d)}]`, this.depthType);
    return this.#depthWidth === 4
      ? code(`${score.text} + dot(${q.text}, ${k.text})`, 'f32', k.needs)
      : wgsl`fma(${q}, ${k}, ${score})`;
  }

  /** Where the walk ends: behind the last key that this row sees. */
  end(body: Block, index: IndexMap): string {
    const keys = count([this.#keyAxis]);
    const { maskExtent } = this.#group.attention;
    const position = maskExtent === undefined ? undefined : index.get(maskExtent.axis.name);
    if (maskExtent === undefined || position === undefined) return indexText(keys);
    const seen = seenKeys(maskExtent, position, keys);
    return seen.key === keys.key ? indexText(keys) : body.let('seen', code(indexText(seen), 'u32')).text;
  }

  /** Writes what the gradient reads of the row, where it does. */
  storeStatistics(body: Block, index: IndexMap, { top, total }: Running): void {
    storeStatistics(this.#frame, body, this.#group, index, { largest: top, total });
  }

  /** Writes element `d` of the row, whose value is `value`, through whatever follows in the kernel. */
  store(body: Block, index: IndexMap, d: Index, value: Code): void {
    const [vector, width] = [this.#widthAxis.name, this.#widthWidth];
    const at = new Map(index).set(vector, elementAt(d, width));
    const kept = body.let('value', value);
    storeRoots(this.#frame, body, this.#group, at, {
      anchor: this.#group.attention.product,
      value: kept,
      width,
      vector,
    });
  }
}
