// What a value is inside a kernel.
import type { DType } from '../../graph/op.ts';
import type { WgslScalar } from '../../wgsl.ts';

/** The WGSL element type that values of a dtype have inside a kernel: 16-bit floats are storage, arithmetic is f32. */
export function computeType(dtype: DType): WgslScalar {
  return dtype === 'i32' || dtype === 'u32' || dtype === 'bool' ? dtype : 'f32';
}
