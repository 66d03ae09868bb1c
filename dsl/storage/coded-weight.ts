// A quantized weight taken apart again, as `unpack.ts` has put it together: codes, what is taken off them, scales, offsets.
import type { Node } from '../graph/graph.ts';
import { packedPath, valuesOf } from '../ops/source.ts';

/** w = (code − zero) · scale + offset, or (code − offset) · scale. */
export interface CodedWeight {
  /** (code − …) · scale: held by whoever multiplies by the scale later. */
  readonly scaled: Node;
  readonly scales: Node;
  readonly offset: { readonly kind: 'bias' | 'zero'; readonly node: Node; readonly sum: Node } | undefined;
  /** code − zero, or the code itself. */
  readonly centered: Node;
  readonly zero: number;
  /** Codes that lie in words whole: the words, of so many bits each, the bits cut out of them, and these as a number. */
  readonly whole: { readonly words: Node; readonly cut: Node; readonly code: Node; readonly bits: number } | undefined;
}

/** The axis of `scaled` that counts the codes of one scale: the others are those of the scales. */
export const memberAxis = 'member';
/** The axis of `whole.cut` that counts the codes of a word. */
export const placeAxis = 'place';

const known = new WeakMap<Node, CodedWeight | null>();

/** Undefined for what is not made of codes and scales alone, element by element. */
export function codedWeight(node: Node): CodedWeight | undefined {
  const found = known.get(node);
  if (found !== undefined) return found ?? undefined;
  const result = takenApart(node);
  known.set(node, result ?? null);
  return result;
}

function takenApart(node: Node): CodedWeight | undefined {
  const top = belowViews(node);
  const [first, second] = top.inputs;
  if (first === undefined || second === undefined) return undefined;
  if (top.op.name === 'add' && top.op.kind === 'map') {
    const inner = takenApart(first);
    const isOffset = packedPath(belowViews(second)) !== undefined;
    return inner === undefined || inner.offset !== undefined || !isOffset
      ? undefined
      : { ...inner, offset: { kind: 'bias', node: second, sum: top } };
  }
  if (top.op.kind !== 'map' || top.op.name !== 'mul' || packedPath(belowViews(second)) === undefined) return undefined;
  const parts = { scaled: top, scales: second, centered: first };
  if (first.op.kind === 'map' && first.op.name === 'sub') {
    const [code, taken] = first.inputs;
    if (code === undefined || taken === undefined) return undefined;
    const [zero, ...more] = valuesOf(belowViews(taken)) ?? [];
    if (zero !== undefined && more.length === 0) return { ...parts, offset: undefined, zero, whole: wholeOf(code) };
    if (packedPath(belowViews(taken)) === undefined) return undefined;
    return { ...parts, offset: { kind: 'zero', node: taken, sum: first }, zero: 0, whole: wholeOf(code) };
  }
  return { ...parts, offset: undefined, zero: 0, whole: wholeOf(first) };
}

/** cast(words >> place · bits mod 2^bits), where words hold nothing else. */
function wholeOf(code: Node): CodedWeight['whole'] {
  if (code.op.kind !== 'map' || code.op.name !== 'cast') return undefined;
  const cut = belowViews(code.inputs[0]);
  const [moved, size] = cut?.inputs ?? [];
  const [words] = moved?.inputs ?? [];
  if (cut?.op.name !== 'mod' || moved?.op.name !== 'shiftRight' || size === undefined || words === undefined)
    return undefined;
  const [count, ...more] = valuesOf(belowViews(size)) ?? [];
  const bits = count === undefined || more.length > 0 ? NaN : Math.log2(count);
  return packedPath(belowViews(words)) !== undefined && Number.isInteger(bits) ? { words, cut, code, bits } : undefined;
}

/** What a node is behind views and casts between floats. */
function belowViews(node: Node): Node;
function belowViews(node: Node | undefined): Node | undefined;
function belowViews(node: Node | undefined): Node | undefined {
  let at = node;
  while (at !== undefined && (at.op.kind === 'view' || isFloatCast(at))) at = at.inputs[0];
  return at;
}

function isFloatCast({ op, type, inputs }: Node): boolean {
  const isFloat = (dtype: string | undefined): boolean => dtype === 'f32' || dtype === 'f16';
  return op.kind === 'map' && op.name === 'cast' && isFloat(type.dtype) && isFloat(inputs[0]?.type.dtype);
}
