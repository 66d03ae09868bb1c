// Choices that were measured on a card hold for its adapter's name, and a profile's own beat them.
import { expect, test } from 'vitest';
import { devices } from '../../compiler/devices.ts';
import { choicesOf, desktopGpu } from '../../compiler/profile.ts';

test('a card that was measured is known by its adapter', () => {
  const { productWorkgroups: usual } = choicesOf(desktopGpu);
  const card = { ...desktopGpu, name: 'nvidia-h200' };
  expect(choicesOf(card).productWorkgroups).toBeGreaterThan(usual);
  expect(choicesOf(card)).toEqual({ ...choicesOf(desktopGpu), ...devices['h200']?.profile.choices });
  expect(choicesOf({ ...card, choices: { productWorkgroups: 7 } }).productWorkgroups).toBe(7);
  expect(choicesOf({ ...desktopGpu, name: 'nvidia-h2000' }).productWorkgroups).toBe(usual);
});
