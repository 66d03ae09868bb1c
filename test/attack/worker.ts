// One process of `npm run attack`: files of one kind from an index on, each told before it is taken, so that whoever watches knows what
// ended this process. Arguments: SEED KIND FROM UNTIL FILE; findings and the end go to the parent.
import { openSync, writeSync } from 'node:fs';
import { Attack, kinds } from './mutate.ts';

const [, , seed, named, from, until, place = ''] = process.argv;
const kind = kinds.find((one) => one === named);
if (kind === undefined) throw new TypeError(`no kind is called ${String(named)}`);
const attack = await Attack.from(Number(seed));
// Not 'w': whoever watches would find it empty in between.
const at = openSync(place, 'r+');
const index = Buffer.alloc(8);
process.send?.({ kind, index: 0, what: 'ready' });
for (let i = Number(from); i < Number(until); i++) {
  index.writeBigUInt64LE(BigInt(i));
  writeSync(at, index, 0, 8, 0);
  const finding = await attack.one(kind, i);
  if (finding !== undefined) process.send?.(finding);
}
attack.close();
process.send?.({ kind, index: Number(until), what: 'done', costs: attack.costs });
process.disconnect();
process.exit(0);
