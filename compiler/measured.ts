// Cards that were measured: what their adapters are called, what they do at best, and choices that differ from the usual ones, with the reason.

export interface MeasuredCard {
  readonly adapter: RegExp;
  /** Multiply-adds of single precision in registers; bytes that a copy reads and writes. */
  readonly flopsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly choices: { readonly productWorkgroups: number };
  readonly source: string;
}

export const h200: MeasuredCard = {
  adapter: /^nvidia-h200\b/,
  flopsPerSecond: 64.6e12,
  bytesPerSecond: 4.26e12,
  // 132 cores: of 160 workgroups of a product 28 begin when the others end.
  choices: { productWorkgroups: 256 },
  source: 'measured on one, driver 580.159: docs/gpu.md',
};

/** Choices for the card that an adapter's name tells; none for one that nobody has measured. */
export function measuredChoices(adapter: string): Partial<MeasuredCard['choices']> {
  return [h200].find((card) => card.adapter.test(adapter))?.choices ?? {};
}
