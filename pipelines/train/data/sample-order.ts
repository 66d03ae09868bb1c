// Which sample comes when: a shuffle that is a pure function of seed and epoch, so that a run can go on at any sample.
import { uniform } from '../../statistics/uniform.ts';

/** Fisher and Yates. */
function permutation(count: number, random: () => number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] ?? 0, order[i] ?? 0];
  }
  return order;
}

export interface Order {
  readonly count: number;
  readonly seed: number;
  readonly epoch: number;
  /** Samples of about one length stand together, in batches of `batch`; text and pictures apart. */
  readonly grouped?: { readonly batch: number; readonly lengths: readonly number[] } | undefined;
}

function generatorOf(seed: number, epoch: number): () => number {
  return uniform(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(epoch + 1, 0x85ebca6b));
}

/** The order of one epoch that groups nothing. */
export function permuted({ count, seed, epoch }: Pick<Order, 'count' | 'seed' | 'epoch'>): Uint32Array {
  return permutation(count, generatorOf(seed, epoch));
}

/** The numbers of the samples of one epoch, each once. */
export function sampleOrder({ count, seed, epoch, grouped }: Order): readonly number[] {
  if (grouped === undefined) return Array.from(permuted({ count, seed, epoch }));
  const random = generatorOf(seed, epoch);
  const { batch, lengths } = grouped;
  const all = Array.from({ length: count }, (_, i) => i);
  const pictures = all.filter((i) => (lengths[i] ?? 1) > 0);
  const texts = all.filter((i) => (lengths[i] ?? 1) <= 0);
  if (pictures.length === 0 || texts.length === 0) return byLength(all, lengths, batch, random).flat();
  const [first, second] = [byLength(pictures, lengths, batch, random), byLength(texts, lengths, batch, random)];
  // What does not fill a batch of one kind is put together at the end, as LLaVA's sampler has it.
  const rest = [...(first.at(-1) ?? []), ...(second.at(-1) ?? [])].sort((a, b) => a - b);
  const batches = [...first.slice(0, -1), ...second.slice(0, -1)];
  return [...Array.from(permutation(batches.length, random)).flatMap((i) => batches[i] ?? []), ...rest];
}

/** Batches of a shuffle, each sorted, the longest first. */
function byLength(
  members: readonly number[],
  lengths: readonly number[],
  batch: number,
  random: () => number,
): number[][] {
  const shuffled = Array.from(permutation(members.length, random), (i) => members[i] ?? 0);
  const batches: number[][] = [];
  for (let i = 0; i < shuffled.length; i += batch)
    batches.push(shuffled.slice(i, i + batch).sort((a, b) => Math.abs(lengths[b] ?? 0) - Math.abs(lengths[a] ?? 0)));
  return batches;
}
