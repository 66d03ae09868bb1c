// Graph texts of strangers: what would fill the memory, or mean two things, is refused with its place.
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { parse } from '../../dsl/text/parse.ts';

function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof OpabiniaError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('refused', () => {
  test('constants that fill the memory, one or many', () => {
    expect(refusal('graph\n%0 = const values=<0*268435456> : f32[a:268435456]\nreturn x=%0')).toContain(
      'constants hold 268435456 numbers',
    );
    const many = Array.from({ length: 40 }, (_, i) => `%${i} = const values=<${i}*1000000> : f32[a:1000000]`);
    expect(refusal(`graph\n${many.join('\n')}\nreturn x=%0`)).toMatch(/^parse: line \d+, .*constants hold 34000000/);
  });
  test('a type that is stated twice', () => {
    expect(refusal('graph\n%0 = input name=x axes=[a] : f32[a:2]\nreturn x=%0')).toContain("no attribute 'axes'");
    expect(refusal('graph\n%0 = input name=x dtype=f16 : f32[a:2]\nreturn x=%0')).toContain("no attribute 'dtype'");
  });
  test('negative sizes', () => {
    expect(refusal('graph\n%0 = input name=x : f32[a:-4]\nreturn x=%0')).toContain("axis 'a' has the size -4");
  });
  test('two inputs of one name', () => {
    expect(refusal('graph\n%0 = input name=x : f32[a:2]\n%1 = input name=x : f32[a:3]\nreturn x=%0 y=%1')).toContain(
      "the input 'x' is defined twice",
    );
  });
});
