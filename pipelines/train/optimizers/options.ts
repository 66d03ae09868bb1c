// What a person may give an optimizer. Types say so in an editor; a recipe runs without them, and a name that nobody reads would be silence.
import { OpabiniaError } from '../../../dsl/index.ts';
import { nameAdvice } from '../../../dsl/text/near-names.ts';

interface Range {
  readonly value: number;
  readonly least: number;
  /** Not reached; default ∞. */
  readonly below?: number | undefined;
  readonly isWhole?: boolean | undefined;
}

/** The decay rates of averages: with 1, nothing is ever averaged, and a bias correction divides by 0. */
export function rateOf(value: number): Range {
  return { value, least: 0, below: 1 };
}

/** Smallest number that f32 holds with all its digits; what is smaller a device may take for 0. */
const smallest = 2 ** -126;

/** What is added to a divisor: with 0, a parameter without a gradient becomes NaN. */
export function epsOf(value: number): Range {
  return { value, least: smallest };
}

/** Throws `OpabiniaError` for an option that the optimizer has not, and for a number out of its range. */
export function checkOptions(
  op: string,
  given: object,
  known: readonly string[],
  numbers: Readonly<Record<string, Range>>,
): void {
  const stray = Object.keys(given).find((name) => !known.includes(name));
  if (stray !== undefined)
    throw new OpabiniaError(`${op} has no option '${stray}'`, {
      op,
      advice: ofGroups.has(stray)
        ? `it stands in a group: { paths: ['*'], lr: 1e-4, weightDecay: 0.1 }`
        : nameAdvice(stray, known),
    });
  for (const [name, { value, least, below = Infinity, isWhole = false }] of Object.entries(numbers)) {
    if (typeof value === 'number' && value >= least && value < below && (!isWhole || Number.isInteger(value))) continue;
    throw new OpabiniaError(`${op}'s ${name} is ${String(value)}`, {
      op,
      advice: `give a ${isWhole ? 'whole ' : ''}number from ${least} on${below === Infinity ? '' : `, below ${below}`}`,
    });
  }
}

const ofGroups: ReadonlySet<string> = new Set(['lr', 'weightDecay', 'weight_decay', 'decay']);
