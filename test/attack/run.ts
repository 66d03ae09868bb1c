// `npm run attack -- [--minutes M] [--seed S] [--count N]`: mutated files against the readers, until the time is over; findings on stdout.
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Attack, kinds } from './mutate.ts';

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '1' }, seed: { type: 'string' }, count: { type: 'string' } },
});
const seed = Number(values.seed ?? randomInt(2 ** 31));
console.log(`seed ${seed}`);
const attack = await Attack.from(seed);
const end = performance.now() + Number(values.minutes) * 60_000;
const most = Number(values.count ?? Infinity);
// A tokenizer costs as much as a hundred headers.
const shares = { header: 100, config: 40, tokenizer: 1, graph: 40, image: 10 } as const;
const done: Record<string, number> = {};
let findings = 0;
for (let round = 0; round < most && performance.now() < end; round++) {
  for (const kind of kinds) {
    for (let i = 0; i < shares[kind] && performance.now() < end; i++) {
      const finding = await attack.one(kind);
      done[kind] = (done[kind] ?? 0) + 1;
      if (finding === undefined) continue;
      findings++;
      console.log(`${finding.kind} ${finding.index}: ${finding.what}`);
    }
  }
}
attack.close();
console.log(
  `${Object.entries(done)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ')}; ${findings} findings`,
);
process.exitCode = findings > 0 ? 1 : 0;
