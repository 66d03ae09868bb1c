// Typed WGSL expressions: text never travels without its type and the helper functions it needs.

/** Every value a kernel computes with: a scalar, or four neighbours along one axis. */
export type WgslType = 'f32' | 'i32' | 'u32' | 'bool' | 'vec4f' | 'vec4i' | 'vec4u' | 'vec4<bool>';

export interface Code {
  readonly text: string;
  readonly type: WgslType;
  readonly needs: readonly Helper[];
  /** An expression of literals alone, which WGSL evaluates while it compiles. */
  readonly isLiteral?: true;
}

/** A WGSL function that an op calls, written once per operand type it is called with. */
export interface Helper {
  readonly name: string;
  /** The whole function for operands of `type`; its name must be `helperName(this, type)`. */
  write(name: string, type: WgslType): string;
  readonly type: WgslType;
}

export interface HelperRecipe {
  readonly name: string;
  write(name: string, type: WgslType): string;
}

const vectorOf = { f32: 'vec4f', i32: 'vec4i', u32: 'vec4u', bool: 'vec4<bool>' } as const;
const scalarOf = { vec4f: 'f32', vec4i: 'i32', vec4u: 'u32', 'vec4<bool>': 'bool' } as const;

export type WgslScalar = keyof typeof vectorOf;

export function isVector(type: WgslType): boolean {
  return type in scalarOf;
}

export function scalarType(type: WgslType): WgslScalar {
  switch (type) {
    case 'vec4f':
    case 'vec4i':
    case 'vec4u':
    case 'vec4<bool>':
      return scalarOf[type];
    default:
      return type;
  }
}

export function vectorType(type: WgslType): WgslType {
  return vectorOf[scalarType(type)];
}

/** The type of the same width as `shape`, with `scalar` elements: `like('vec4f', 'bool')` is `vec4<bool>`. */
export function like(shape: WgslType, scalar: WgslScalar): WgslType {
  return isVector(shape) ? vectorOf[scalar] : scalar;
}

export function code(text: string, type: WgslType, needs: readonly Helper[] = []): Code {
  return { text, type, needs };
}

/** Code that is made of literals alone. */
export function constantCode(text: string, type: WgslType): Code {
  return { text, type, needs: [], isLiteral: true };
}

/** A WGSL literal of a number in the given scalar type. WGSL has none for infinities and NaN: those are made from their bits at run time. */
export function literal(value: number, type: WgslScalar): Code {
  if (type === 'bool') return constantCode(value === 0 ? 'false' : 'true', 'bool');
  if (type === 'u32') return constantCode(`${value >>> 0}u`, 'u32');
  if (type === 'i32')
    return constantCode(value === -2147483648 ? 'i32(-2147483647 - 1)' : `${Math.trunc(value)}i`, 'i32');
  return Number.isFinite(value) ? constantCode(floatLiteral(value), 'f32') : fromBits(value);
}

// A call of a function is not a constant expression, so the compiler does not refuse what it evaluates to.
const bitsRecipe: HelperRecipe = {
  name: 'float_of_bits',
  write: (name) => `fn ${name}(bits: u32) -> f32 { return bitcast<f32>(bits); }`,
};

function fromBits(value: number): Code {
  const bits = Number.isNaN(value) ? '0x7fc00000u' : value > 0 ? '0x7f800000u' : '0xff800000u';
  const made = call(bitsRecipe, code(bits, 'u32'));
  return code(made.text, 'f32', made.needs);
}

const largest = 3.4028234663852886e38;

function floatLiteral(value: number): string {
  const rounded = Math.fround(Math.max(-largest, Math.min(largest, value)));
  const text = String(rounded);
  const full = /[.e]/.test(text) ? text : `${text}.0`;
  return rounded < 0 || Object.is(rounded, -0) ? `(${full === '0.0' ? '-0.0' : full}f)` : `${full}f`;
}

/** Widens a scalar to the width of `shape`. */
export function splat(value: Code, shape: WgslType): Code {
  if (isVector(value.type) || !isVector(shape)) return value;
  const wide = vectorOf[scalarType(value.type)];
  const text = `${wide}(${value.text})`;
  return value.isLiteral === true ? constantCode(text, wide) : code(text, wide, value.needs);
}

/** Typed template: holes are `Code`; the result has the type of the first hole. */
export function wgsl(parts: TemplateStringsArray, ...holes: readonly Code[]): Code {
  const first = holes[0];
  if (first === undefined) throw new Error('a wgsl template needs at least one hole');
  return code(
    join(parts, holes),
    first.type,
    holes.flatMap((hole) => hole.needs),
  );
}

/** As `wgsl`, for an expression that is true or false per element. */
export function wgslTest(parts: TemplateStringsArray, ...holes: readonly Code[]): Code {
  const plain = wgsl(parts, ...holes);
  return code(plain.text, like(plain.type, 'bool'), plain.needs);
}

function join(parts: TemplateStringsArray, holes: readonly Code[]): string {
  return parts.reduce((text, part, i) => `${text}${holes[i - 1]?.text ?? ''}${part}`);
}

/** A call of a helper function with operands of one type. */
export function call(recipe: HelperRecipe, ...operands: readonly Code[]): Code {
  const first = operands[0];
  if (first === undefined) throw new Error('a helper call needs at least one operand');
  const helper: Helper = {
    name: helperName(recipe, first.type),
    type: first.type,
    write: (name, type) => recipe.write(name, type),
  };
  return code(`${helper.name}(${operands.map((o) => o.text).join(', ')})`, first.type, [
    ...operands.flatMap((o) => o.needs),
    helper,
  ]);
}

export function helperName(recipe: HelperRecipe, type: WgslType): string {
  return `${recipe.name}_${type.replace(/\W/g, '')}`;
}

/** The source of every helper that the code needs, each once. */
export function writeHelpers(needs: readonly Helper[]): string {
  const unique = new Map(needs.map((helper) => [helper.name, helper]));
  return [...unique.values()].map((helper) => helper.write(helper.name, helper.type)).join('\n');
}
