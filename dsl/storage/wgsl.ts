// Functions of WGSL that decoders call: the same for every buffer. f16 is decoded by integers, because `unpack2x16float` may flush
// subnormals, which scales of small weights are.

/** Text that stands once in a kernel that decodes. */
export const storageFunctions = `fn storage_f16(bits: u32) -> f32 {
  let magnitude = bits & 0x7fffu;
  if (magnitude < 0x0400u) {
    let small = f32(magnitude) * 5.9604644775390625e-8f;
    return select(small, -small, (bits & 0x8000u) != 0u);
  }
  let special = select(0x38000000u, 0x70000000u, magnitude >= 0x7c00u);
  return bitcast<f32>(((bits & 0x8000u) << 16u) | ((magnitude << 13u) + special));
}
fn storage_bf16(bits: u32) -> f32 { return bitcast<f32>(bits << 16u); }
fn storage_bytes(word: u32) -> vec4u { return (vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u); }
fn storage_signed(word: u32) -> vec4i { return vec4i((vec4u(word) << vec4u(24u, 16u, 8u, 0u))) >> vec4u(24u); }
fn storage_bits(word: u32, first: u32) -> vec4u { return (vec4u(word >> first) >> vec4u(0u, 1u, 2u, 3u)) & vec4u(1u); }
fn storage_signed_byte(byte: u32) -> f32 { return f32(bitcast<i32>(byte << 24u) >> 24u); }`;
