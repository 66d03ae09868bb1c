// Groups along the last axis with a scale, and a bias or a zero point: what MLX, compressed-tensors, AWQ and GPTQ store, each in an order
// of its own. Here a group is one block: scale, bias or zero, then the codes, lowest bits first.
import { roundToEven } from '../graph/elements.ts';
import type { StorageFormat } from './format.ts';
import { range, f32Slack } from './scales.ts';

const { fround } = Math;

export type ScaleDType = 'f32' | 'f16' | 'bf16';

export interface AffineForm {
  readonly bits: 4 | 8;
  /** Elements that share a scale; a multiple of 8. */
  readonly group: number;
  readonly scale: ScaleDType;
  /** `bias`: q·s + b, `zero`: (q − z)·s, where z·s may not fit the scale's dtype and z does. */
  readonly offset: 'bias' | 'zero';
}

const scaleBytes = { f32: 4, f16: 2, bf16: 2 } as const;
/** Half a unit in the last place, relative to the number (2⁻ᵖ of p significant bits), and half the least subnormal. */
const units = { f32: [2 ** -24, 2 ** -150], f16: [2 ** -11, 2 ** -25], bf16: [2 ** -8, 2 ** -134] } as const;

export function readScale(block: DataView, at: number, dtype: ScaleDType): number {
  if (dtype === 'f32') return block.getFloat32(at, true);
  return dtype === 'f16' ? block.getFloat16(at, true) : bits32(block.getUint16(at, true) << 16);
}

export function writeScale(block: DataView, at: number, value: number, dtype: ScaleDType): void {
  if (dtype === 'f32') block.setFloat32(at, value, true);
  else if (dtype === 'f16') block.setFloat16(at, value, true);
  else block.setUint16(at, nearestBf16(value), true);
}

const one = new DataView(new ArrayBuffer(4));

function bits32(bits: number): number {
  one.setInt32(0, bits);
  return one.getFloat32(0);
}

function nearestBf16(value: number): number {
  one.setFloat32(0, value);
  const bits = one.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

const made = new Map<string, StorageFormat>();

/** The format of one form; equal forms are one value. Throws `RangeError` for a group that is not a multiple of 8. */
export function affine(form: AffineForm): StorageFormat {
  const { bits, group, scale, offset } = form;
  if (!Number.isInteger(group) || group <= 0 || group % 8 !== 0)
    throw new RangeError(`a group of ${group} elements is not a multiple of 8`);
  const name = `affine${bits}_${group}_${scale}_${offset}`;
  const known = made.get(name);
  if (known !== undefined) return known;
  const width = scaleBytes[scale];
  const head = 2 * width;
  const top = 2 ** bits - 1;
  const codeAt = (block: DataView, at: number, e: number): number =>
    bits === 8 ? block.getUint8(at + head + e) : (block.getUint8(at + head + (e >> 1)) >> (4 * (e & 1))) & 15;
  const record: StorageFormat = {
    name,
    doc: `s ${scale} | ${offset === 'bias' ? 'b' : 'z'} ${scale} | q u${bits}[${group}]; w = ${offset === 'bias' ? 'q·s + b' : '(q − z)·s'}`,
    block: group,
    bytes: head + (group * bits) / 8,
    decode(block, at, into, start) {
      const [s, other] = [readScale(block, at, scale), readScale(block, at + width, scale)];
      for (let e = 0; e < group; e++) {
        const q = codeAt(block, at, e);
        into[start + e] = offset === 'bias' ? fround(q * s) + other : fround(q - other) * s;
      }
    },
    planes: {
      bits,
      group,
      zero: 0,
      wide: true,
      scale: (block, at) => readScale(block, at, scale),
      code: codeAt,
      word: (block, at, w) => block.getUint32(at + head + 4 * w, true),
      offset: { kind: offset, of: (block, at) => readScale(block, at + width, scale) },
    },
    wgsl: ({ half, word }) => {
      const read = (at: string): string =>
        scale === 'f32' ? `bitcast<f32>(${word(at)})` : `storage_${scale}(${half(at)})`;
      const codes =
        bits === 8
          ? `storage_bytes(${word(`at + ${head}u + e`)})`
          : `(vec4u(${half(`at + ${head}u + (e >> 1u)`)}) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)`;
      const [s, b] = [read('at'), read(`at + ${width}u`)];
      return `let q = vec4f(${codes});
  return ${offset === 'bias' ? `q * ${s} + vec4f(${b})` : `(q - vec4f(${b})) * ${s}`};`;
    },
    // MLX's quantizer: codes from the f32 scale and bias, which are rounded to their dtype afterwards.
    ...(offset === 'bias'
      ? {
          encode(from: Float32Array, start: number, block: DataView, at: number) {
            const [least, greatest] = range(from, start, group);
            const isBelow = Math.abs(least) > Math.abs(greatest);
            const positive = Math.max(fround(fround(greatest - least) / top), fround(1e-7));
            const edge = isBelow ? least : greatest;
            let s = isBelow ? positive : -positive;
            const q0 = roundToEven(fround(edge / s));
            if (q0 !== 0) s = fround(edge / q0);
            const b = q0 === 0 ? 0 : edge;
            writeScale(block, at, s, scale);
            writeScale(block, at + width, b, scale);
            const quantised = (e: number): number =>
              Math.max(0, Math.min(top, roundToEven(fround(fround((from[start + e] ?? 0) - b) / s))));
            for (let e = 0; e < group; e++) {
              if (bits === 8) block.setUint8(at + head + e, quantised(e));
              else if (e % 2 === 0) block.setUint8(at + head + e / 2, quantised(e) | (quantised(e + 1) << 4));
            }
          },
          roundTrip(least: number, greatest: number) {
            const [relative, tiny] = units[scale];
            const s = Math.max((greatest - least) / top, 1e-7);
            const most = Math.max(Math.abs(least), Math.abs(greatest));
            // The scale moves so that the edge has a whole code: by a part of at most 1/top, of which the farthest code sees all.
            const moved = s * (1 + 1.1 / top);
            return 1.6 * s + top * Math.max(moved * relative, tiny) + Math.max(most * relative, tiny) + most * f32Slack;
          },
        }
      : {}),
  };
  made.set(name, record);
  return record;
}
