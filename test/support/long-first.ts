// The order of test files: those that take a minute and more first, so that no process is left with one of them at the end.
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const long = [
  'gpu/templates',
  'gpu/ops',
  'cli/run',
  'cli/eval',
  'gpu/golden',
  'gpu/generate',
  'compiler/bindings',
  'examples/demo',
  'gpu/contract-templates',
  'gpu/llm',
  'package/package',
  'compiler/shaders',
  'compiler/onnx',
  'gpu/windows',
  'gpu/encoders',
  'gpu/llava',
  'gpu/absorption',
  'project',
].map((name) => `test/${name}.test.ts`);

export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = long.findIndex((name) => moduleId.endsWith(name));
      return found < 0 ? long.length : found;
    };
    return (await super.sort(files)).toSorted((a, b) => place(a) - place(b));
  }
}
