// The numbers of generated parameters, as a source of parameters gives them.

/** Words of codes as u32: they have more digits than an f32. */
export function numbersAt(params: ReadonlyMap<string, Float64Array>, path: string): Float64Array | Uint32Array {
  const values = params.get(path) ?? new Float64Array(0);
  return /#(codes|high)$/.test(path) ? Uint32Array.from(values) : values;
}
