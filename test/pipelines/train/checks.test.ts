// The checks before the first step: what is said of parameters that no gradient reaches.
import { expect, test } from 'vitest';
import { firstChecks, refuseWrong } from '../../../pipelines/train/run/checks.ts';

const batch = { targets: 1, tokens: 2, visual: [], replaced: [] } as unknown as Parameters<
  typeof firstChecks
>[0]['batches'][number];

test('a module without a gradient is refused, with what can be done about it', () => {
  const checks = firstChecks({
    batches: [batch],
    groups: [],
    learned: ['a.sharpness', 'b.weight'],
    squares: [0, 4],
    loss: 1,
  });
  expect(checks.filter(({ verdict }) => verdict !== 'ok')).toEqual([
    { what: 'gradient of a: 0.00e+0', verdict: 'WRONG' },
    { what: '1 parameter gets no gradient: a.sharpness', verdict: 'note' },
  ]);
  expect(() => refuseWrong(checks)).toThrow(/gradient of a: 0\.00e\+0\n[^]*name it in `frozen` of the stage/);
  const lost = firstChecks({ batches: [batch], groups: [], learned: ['b.weight'], squares: [4], loss: NaN });
  expect(() => refuseWrong(lost)).toThrow(/loss NaN\n[^]*look at the list above/);
});
