// How a thread walks its part of a sum over few rows: what it loads together, so that enough bytes are on their way, and what it makes of
// codes. A code becomes a float without a conversion: its bits are put where they lie into the mantissa of 2^23, which leaves a power of two
// that its factor is divided by, exactly; and the scale of a word is multiplied by once.
import type { Node } from '../../dsl/graph/graph.ts';
import { codedWeight, memberAxis, placeAxis, type CodedWeight } from '../../dsl/storage/coded-weight.ts';
import { code, literal, splat, wgsl, type Code, type WgslType } from '../../dsl/wgsl.ts';
import { add, constantIndex, divide, indexMath, isMultiple, scale, type Index } from '../index/index-math.ts';
import type { Block } from '../kernel/kernel.ts';
import { typeOf, type Width } from '../kernel/element-format.ts';
import type { Lowering } from '../kernel/lower.ts';
import { quad } from '../kernel/quad.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { indexAlong } from '../kernel/storage.ts';
import { isUnpacked } from '../rewrite/fixed.ts';
import { indexVariable, isQuartered } from './frame.ts';
import type { Product } from './contract.ts';

/** Codes of a quantized weight that a thread takes at once: a word of the shortest ones. */
const codesTogether = 8;

/** Vectors of one weight that a thread loads before it multiplies any. */
const loadsTogether = 8;
/** The same of words of codes: each is many numbers. */
const wordsTogether = 2;

/** Terms that follow one another and are one thread's: where weights are codes, it loads their word and their scale once. */
export function unitOf(products: readonly Product[]): number {
  const isCoded = products.every(({ b, k }) => isUnpacked(b) && isMultiple(k, codesTogether));
  return isCoded ? codesTogether : 1;
}

/** What is multiplied with the rows, and where its elements are. */
export interface Weight {
  readonly node: Node;
  readonly at: (column: Index, term: Index) => IndexMap;
}

export interface Terms {
  readonly lowering: Lowering;
  readonly product: Product;
  readonly rows: number;
  /** A row operand at a term, or at four of them. */
  readonly factor: (block: Block, row: number, term: Index, width: Width) => Code;
  /** The thread's part, of so many. */
  readonly part: Index;
  readonly parts: number;
  readonly unit: number;
  readonly width: Width;
}

/** Adds all terms of a thread to the sums, of each weight and row, of weights whose columns are `column`. */
export function addTerms(
  walk: Terms,
  block: Block,
  weights: readonly Weight[],
  column: Index,
  sums: readonly (readonly Code[])[],
): void {
  const { product, part, parts, unit } = walk;
  const { k, names } = product;
  const turns = divide(k, constantIndex(unit));
  const isCoded = unit > 1 && weights.every((weight) => liesInWords(walk, weight, column));
  const together = turnsTogether(turns, parts, unit === 1 ? loadsTogether : isCoded ? wordsTogether : 1);
  // The last of the turns that one turn of the loop takes together is below the end where the first is.
  const end = together === 1 ? turns : constantIndex(turns.constant - (together - 1) * parts);
  block.loop(
    unit === 1 ? names.sum : `${names.sum}_word`,
    end,
    (inside, at) => {
      const places = Array.from({ length: together }, (_, turn) => add(at, constantIndex(turn * parts)));
      if (isCoded) return addWords(walk, inside, weights, column, places, sums);
      const terms = places.flatMap((place) =>
        Array.from({ length: unit }, (_, next) => add(scale(place, unit), constantIndex(next))),
      );
      // Words of codes that are nobody's pattern are many statements each: one after the other.
      const groups = unit === 1 ? [terms] : terms.map((term) => [term]);
      for (const group of groups) addTogether(walk, inside, weights, column, group, sums);
    },
    { from: part, step: parts * together },
  );
}

/** Whether terms that follow one another are codes that do, of one scale: not where a sum runs over the columns that share none. */
function liesInWords({ unit }: Terms, { node, at }: Weight, column: Index): boolean {
  const coded = codedWeight(node);
  if (coded === undefined) return false;
  const first = scale(indexVariable('word', constantIndex(2 ** 16)), unit);
  const ofTerm = (e: number): IndexMap => indexBelow(node, coded.scaled, at(column, add(first, constantIndex(e))));
  const start = ofTerm(0);
  const member = indexAlong(start, memberAxis);
  const shared = coded.scaled.type.axes.filter(({ name }) => name !== memberAxis);
  return (
    isMultiple(member, unit) &&
    Array.from({ length: unit }, (_, e) => ofTerm(e)).every(
      (own, e) =>
        shared.every(({ name }) => indexAlong(own, name).key === indexAlong(start, name).key) &&
        indexAlong(own, memberAxis).key === add(member, constantIndex(e)).key,
    )
  );
}

/** Where `target` is read, behind views and what is computed element by element, for `node` at `index`. */
function indexBelow(node: Node, target: Node, index: IndexMap): IndexMap {
  let at = node;
  let own = index;
  while (at !== target) {
    const [x] = at.inputs;
    if (x === undefined) throw new TypeError('a weight that is not behind its own views');
    if (at.op.kind === 'view') own = at.op.source(indexMath, own, at.attrs, x.type).index;
    at = x;
  }
  return own;
}

/** As many as divide every thread's turns. */
function turnsTogether(turns: Index, parts: number, most: number): number {
  if (turns.terms.length > 0) return 1;
  for (let together = most; together > 1; together /= 2) if (turns.constant % (parts * together) === 0) return together;
  return 1;
}

function addTogether(
  { lowering, factor, rows, width }: Terms,
  block: Block,
  weights: readonly Weight[],
  column: Index,
  terms: readonly Index[],
  sums: readonly (readonly Code[])[],
): void {
  const type = typeOf('f32', width);
  const loaded = terms.map((term) =>
    weights.map(({ node, at }) => splat(lowering.value(block, node, at(column, term), width), type)),
  );
  terms.forEach((term, t) => {
    for (let row = 0; row < rows; row++) {
      const own = splat(factor(block, row, term, 1), type);
      sums.forEach((of, p) => {
        const [sum, value] = [of[row], loaded[t]?.[p]];
        if (sum !== undefined && value !== undefined) block.assign(sum.text, wgsl`fma(${own}, ${value}, ${sum})`);
      });
    }
  });
}

/** What a word of one weight gives: its codes less their zero, each times a power of two, and what they are multiplied and moved by. */
interface Word {
  readonly codes: readonly Code[];
  readonly scale: Code;
  /** Of the weight, added; where it is taken off the code, it comes with the scale. */
  readonly offset: { readonly kind: 'bias' | 'zero'; readonly value: Code } | undefined;
}

function addWords(
  walk: Terms,
  block: Block,
  weights: readonly Weight[],
  column: Index,
  places: readonly Index[],
  sums: readonly (readonly Code[])[],
): void {
  const { rows, unit, width, product } = walk;
  const type = typeOf('f32', width);
  const isByFour = isQuartered(product.sum.at(-1));
  const words = places.map((place) => weights.map((weight) => wordOf(walk, block, weight, column, place)));
  places.forEach((place, turn) => {
    for (let row = 0; row < rows; row++) {
      const factors = Array.from({ length: unit / 4 }, (_, q): readonly Code[] => {
        const first = add(scale(place, unit), constantIndex(4 * q));
        if (!isByFour) return [0, 1, 2, 3].map((lane) => walk.factor(block, row, add(first, constantIndex(lane)), 1));
        const four = block.let('four', walk.factor(block, row, add(first, quad), 4));
        return ['x', 'y', 'z', 'w'].map((lane) => code(`${four.text}.${lane}`, 'f32', four.needs));
      }).flat();
      weights.forEach(({ node }, p) => {
        const [sum, word] = [sums[p]?.[row], words[turn]?.[p]];
        if (sum === undefined || word === undefined) return;
        const total = block.var('of_word', splat(literal(0, 'f32'), type));
        word.codes.forEach((value, e) => {
          const own = factors[e];
          const shrunk = powerOf(node, e);
          if (own === undefined) return;
          const factor = shrunk === 1 ? own : block.let('shrunk', wgsl`(${own} * ${literal(1 / shrunk, 'f32')})`);
          block.assign(total.text, wgsl`fma(${splat(factor, type)}, ${value}, ${total})`);
        });
        if (word.offset !== undefined) {
          const all = block.let('all', code(factors.map(({ text }) => text).join(' + '), 'f32'));
          const moved =
            word.offset.kind === 'bias' ? word.offset.value : wgsl`(-(${word.offset.value} * ${word.scale}))`;
          block.assign(sum.text, wgsl`fma(${splat(all, type)}, ${moved}, ${sum})`);
        }
        block.assign(sum.text, wgsl`fma(${total}, ${word.scale}, ${sum})`);
      });
    }
  });
}

/** Bits of the lower half of a word are bits of a mantissa; those of the upper half are moved there. */
const halfWord = 16;

/** What code `e` of a word comes multiplied by. */
function powerOf(node: Node, e: number): number {
  const bits = bitsInPlace(codedWeight(node));
  return bits === undefined ? 1 : 2 ** ((e * bits) % halfWord);
}

/** The bits of codes that are taken where they lie. */
function bitsInPlace(coded: CodedWeight | undefined): number | undefined {
  const bits = coded?.whole?.bits;
  return bits !== undefined && codesTogether % (32 / bits) === 0 ? bits : undefined;
}

function upperHalf(block: Block, word: Code, type: WgslType): Code {
  const key = `upper half of ${word.text}`;
  return block.known(key) ?? block.let('upper', wgsl`(${word} >> ${splat(literal(halfWord, 'u32'), type)})`, key);
}

function wordOf(
  { lowering, unit, width }: Terms,
  block: Block,
  { node, at: weightAt }: Weight,
  column: Index,
  place: Index,
): Word {
  const coded = codedWeight(node);
  if (coded === undefined) throw new TypeError('a weight without codes');
  const { scaled, scales, centered, offset, whole, zero } = coded;
  const [type, words] = [typeOf('f32', width), typeOf('u32', width)];
  const bits = bitsInPlace(coded);
  const { held } = lowering;
  let scaleOf: Code | undefined;
  let offsetOf: Code | undefined;
  // The codes alone: what they are multiplied and moved by is kept where it is met.
  held.set(scaled, (inside, index, w) => {
    scaleOf = lowering.value(inside, scales, index, w);
    return lowering.value(inside, centered, index, w);
  });
  if (whole !== undefined && bits !== undefined) {
    held.set(whole.cut, (inside, index, w) => {
      const at = indexAlong(index, placeAxis).constant * bits;
      const own = splat(lowering.value(inside, whole.words, index, w), words);
      const half = at < halfWord ? own : upperHalf(inside, own, words);
      const mask = splat(literal((2 ** bits - 1) * 2 ** (at % halfWord), 'u32'), words);
      return wgsl`((${half} & ${mask}) | ${splat(code('0x4b000000u', 'u32'), words)})`;
    });
    const [cut] = whole.code.inputs;
    if (cut !== undefined)
      held.set(whole.code, (inside, index, w) =>
        code(`bitcast<${type}>(${splat(lowering.value(inside, cut, index, w), words).text})`, type),
      );
    // Its zero is taken off together with 2^23.
    if (centered !== whole.code) held.set(centered, (inside, index, w) => lowering.value(inside, whole.code, index, w));
  }
  if (offset !== undefined)
    held.set(offset.sum, (inside, index, w) => {
      offsetOf = lowering.value(inside, offset.node, index, w);
      const rest = offset.kind === 'bias' ? scaled : (whole?.code ?? offset.sum.inputs[0]);
      if (rest === undefined) throw new TypeError('an offset of nothing');
      return lowering.value(inside, rest, index, w);
    });
  const codes = Array.from({ length: unit }, (_, e) => {
    const at = weightAt(column, add(scale(place, unit), constantIndex(e)));
    const value = splat(lowering.value(block, node, at, width), type);
    if (bits === undefined) return value;
    // 2^23 and the code, and its zero, each times their power of two, are exact, and so is the difference.
    return block.let('code', wgsl`(${value} - ${splat(literal(2 ** 23 + zero * powerOf(node, e), 'f32'), type)})`);
  });
  for (const own of [scaled, offset?.sum, whole?.cut, whole?.code, centered]) if (own !== undefined) held.delete(own);
  if (scaleOf === undefined) throw new TypeError('a weight whose scale was not read');
  return {
    codes,
    scale: splat(scaleOf, type),
    offset:
      offset === undefined || offsetOf === undefined ? undefined : { kind: offset.kind, value: splat(offsetOf, type) },
  };
}
