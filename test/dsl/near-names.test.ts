// «Did you mean» says what is near, and says nothing of the kind where nothing is.
import { expect, test } from 'vitest';
import { nameAdvice, nearNames } from '../../dsl/text/near-names.ts';

const known = ['softmax', 'sigmoid', 'silu', 'mlp2x', 'llama-3-8b', 'llama-3-70b'];

test.each<[string, readonly string[]]>([
  ['sofmax', ['softmax']],
  ['SoftMax', ['softmax']],
  ['mlp', ['mlp2x']],
  ['llama', ['llama-3-8b', 'llama-3-70b']],
  ['my-softmax', ['softmax']],
  ['gpt', []],
  ['x', []],
  ['', []],
])('%s: %j', (wanted, near) => expect(nearNames(wanted, known)).toEqual(near));

test('advice: what is near, then what there is, or where that is told', () => {
  expect(nameAdvice('sofmax', ['softmax', 'silu'])).toBe('the nearest is softmax; there are softmax, silu');
  expect(nameAdvice('blob', ['softmax', 'silu'])).toBe('there are softmax, silu');
  expect(nameAdvice('llama', known, '--list names all')).toBe(
    'the nearest are llama-3-8b, llama-3-70b; --list names all',
  );
  expect(nameAdvice('a', [])).toBe('there are none');
});
