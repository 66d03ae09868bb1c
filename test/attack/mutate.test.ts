// A few mutated files of each kind, from a fresh seed each time: read or refused, never worse. `npm run attack` goes on for longer.
import { randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { Attack, kinds, type Kind } from './mutate.ts';

test('mutated files are read or refused by a typed error', async () => {
  const seed = randomInt(2 ** 31);
  const attack = await Attack.from(seed);
  const counts = {
    header: 2000,
    gguf: 150,
    pickle: 150,
    config: 300,
    tokenizer: 20,
    pieces: 10,
    graph: 300,
    image: 150,
  } as const satisfies Record<Kind, number>;
  try {
    for (const kind of kinds)
      for (let i = 0; i < counts[kind]; i++) expect(await attack.one(kind, i), `seed ${seed}`).toBeUndefined();
  } finally {
    attack.close();
  }
});
