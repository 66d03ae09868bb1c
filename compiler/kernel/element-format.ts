// Between the format that values are stored in and the format of arithmetic: 16-bit floats widen, bool is a word that is not 0.
import { OpabiniaError } from '../../dsl/error.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { code, constantCode, like, vectorType, type Code, type Helper, type WgslType } from '../../dsl/wgsl.ts';
import { elementText, type Slot } from './kernel.ts';

/** 1: one element. 4: four neighbours; their offset within the four is the variable `quad` in the index. */
export type Width = 1 | 4;

/** The WGSL type of a value in arithmetic. */
export function typeOf(dtype: DType, width: Width): WgslType {
  const scalar = computeType(dtype);
  return width === 4 ? vectorType(scalar) : scalar;
}

/**
 * The WGSL type of one array element of a stored tensor. Four of 16 bits are two words: a driver that gathers what lanes load takes
 * as long for half a word as for a whole one, and a product in f16 is an eighth faster.
 */
export function storedType(dtype: DType, width: Width): string {
  if (dtype === 'bf16') return width === 1 ? 'u32' : 'vec2<u32>';
  if (dtype === 'f16' && width === 4) return 'vec2<u32>';
  const scalar = dtype === 'bool' ? 'u32' : dtype;
  return width === 1 ? scalar : `vec4<${scalar}>`;
}

// bf16 is the upper half of an f32.
const widen: Helper = {
  name: 'widen_bf16',
  type: 'vec4f',
  write: () =>
    'fn widen_bf16(pair: vec2u) -> vec4f { return bitcast<vec4f>(vec4u(pair.x << 16u, pair.x & 0xffff0000u, pair.y << 16u, pair.y & 0xffff0000u)); }',
};

const narrow: Helper = {
  name: 'narrow_bf16',
  type: 'vec4f',
  write: () => `fn narrow_bf16(value: vec4f) -> vec2u {
  let bits = bitcast<vec4u>(value);
  let half = (bits + vec4u(0x7fffu) + ((bits >> vec4u(16u)) & vec4u(1u))) >> vec4u(16u);
  return vec2u(half.x | (half.y << 16u), half.z | (half.w << 16u));
}`,
};

/** The value at an element (for vectors: at a quarter) of a slot. */
export function loaded(at: Code, slot: Slot, dtype: DType): Code {
  const type = typeOf(dtype, slot.width);
  if (dtype === 'bf16') {
    if (slot.width === 4) return code(`widen_bf16(${elementText(slot, at.text)})`, type, [widen]);
    return code(`bitcast<f32>((${elementText(slot, `${at.text} >> 1u`)} >> ((${at.text} & 1u) * 16u)) << 16u)`, type);
  }
  const raw = elementText(slot, at.text);
  if (dtype === 'f16') return code(`${type}(${slot.width === 4 ? `bitcast<vec4<f16>>(${raw})` : raw})`, type);
  if (dtype === 'bool') return code(`(${raw} != ${slot.width === 4 ? 'vec4u(0u)' : '0u'})`, type);
  return code(raw, type);
}

/** One value, or four, in half precision. */
export function halved(value: Code): Code {
  return code(`${value.type === 'f32' ? 'f16' : 'vec4<f16>'}(${value.text})`, value.type, value.needs);
}

/** A value as it is written. */
export function stored(value: Code, dtype: DType): Code {
  if (dtype === 'f16') {
    const half = halved(value);
    return value.type === 'f32' ? half : code(`bitcast<vec2<u32>>(${half.text})`, value.type, value.needs);
  }
  if (dtype === 'bool')
    return code(
      value.type === 'bool' ? `select(0u, 1u, ${value.text})` : `select(vec4u(0u), vec4u(1u), ${value.text})`,
      like(value.type, 'u32'),
      value.needs,
    );
  if (dtype === 'bf16') {
    if (value.type === 'f32')
      throw new OpabiniaError('a single bf16 cannot be written: two share a word', {
        advice: "cast to 'f32' or 'f16' before it is stored",
      });
    return code(`narrow_bf16(${value.text})`, value.type, [...value.needs, narrow]);
  }
  return value;
}

/** Four scalars as one vector. */
export function compose(lanes: readonly Code[]): Code {
  const [first] = lanes;
  if (first === undefined) throw new TypeError('no lanes');
  const type = vectorType(first.type);
  const text = `${type}(${lanes.map((lane) => lane.text).join(', ')})`;
  return lanes.every((lane) => lane.isLiteral === true)
    ? constantCode(text, type)
    : code(
        text,
        type,
        lanes.flatMap((lane) => lane.needs),
      );
}
