// What a model reads against what a checkpoint holds: missing, unexpected, transposed and misshapen tensors, with the nearest names.
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import { oneLine } from '../../dsl/text/one-line.ts';
import type { Plan } from '../../compiler/plan.ts';
import { evaluateFormula } from '../program/formula.ts';
import type { StoredTensor } from './safetensors.ts';

export type ShapesByName = ReadonlyMap<string, readonly number[]>;

export interface WrongShape {
  readonly name: string;
  readonly wanted: readonly number[];
  readonly stored: readonly number[];
}

export interface Match {
  /** Tensors that the model reads. */
  readonly wanted: number;
  readonly missing: readonly { readonly name: string; readonly nearest: readonly string[] }[];
  readonly unexpected: readonly { readonly name: string; readonly nearest: readonly string[] }[];
  /** Two axes stand in the other order, as frameworks that store `[in, out]` have them. */
  readonly transposed: readonly WrongShape[];
  readonly misshapen: readonly WrongShape[];
  /** Stored, and left alone on purpose. */
  readonly ignored: readonly { readonly name: string; readonly why: string }[];
}

/** Prefixes of names that a model leaves alone, each with the reason. */
export type Ignored = Readonly<Record<string, string>>;

/** Names nearest to a name are searched for so many of each kind: with thousands of tensors it would take minutes for all. */
const explained = 12;

/** `ignored`: what the model leaves alone, such as a text tower beside a vision tower. */
export function matchTensors(wanted: ShapesByName, stored: ShapesByName, ignored: Ignored = {}): Match {
  const absent = [...wanted.keys()].filter((name) => !stored.has(name));
  const reasons = Object.entries(ignored);
  const reasonFor = (name: string): string | undefined =>
    reasons.find(([prefix]) => name === prefix || name.startsWith(`${prefix}.`))?.[1];
  const spare = [...stored.keys()].filter((name) => !wanted.has(name));
  const left = spare.filter((name) => reasonFor(name) === undefined);
  const wrong = [...wanted].flatMap(([name, shape]): readonly WrongShape[] => {
    const found = stored.get(name);
    return found === undefined || found.join() === shape.join() ? [] : [{ name, wanted: shape, stored: found }];
  });
  // What is missing is most likely among what nobody asked for, and the other way round.
  const near = (names: readonly string[], others: readonly string[], all: Iterable<string>) =>
    names.map((name, i) => ({
      name,
      nearest:
        i < explained
          ? nearestNames(name, others.length > 0 && others.length <= 2_000 ? others : [...all].slice(0, 2_000))
          : [],
    }));
  return {
    wanted: wanted.size,
    missing: near(absent, left, stored.keys()),
    unexpected: near(left, absent, wanted.keys()),
    transposed: wrong.filter(isTransposed),
    misshapen: wrong.filter((one) => !isTransposed(one)),
    ignored: spare.flatMap((name) => {
      const why = reasonFor(name);
      return why === undefined ? [] : [{ name, why }];
    }),
  };
}

function isTransposed({ wanted, stored }: WrongShape): boolean {
  return wanted.length >= 2 && wanted.length === stored.length && [...wanted].reverse().join() === stored.join();
}

export function matches(match: Match): boolean {
  return match.missing.length + match.unexpected.length + match.transposed.length + match.misshapen.length === 0;
}

/** The same as text, `most` lines of each kind. */
export function printMatch(match: Match, most = explained): string {
  const shape = (sizes: readonly number[]) => `[${sizes.join(', ')}]`;
  const section = (title: string, lines: readonly string[]): readonly string[] =>
    lines.length === 0
      ? []
      : [
          `${lines.length} ${title}`,
          ...lines.slice(0, most).map((line) => `  ${line}`),
          ...(lines.length > most ? [`  … and ${lines.length - most} more`] : []),
        ];
  const named = ({ name, nearest }: Match['missing'][number]) =>
    `${oneLine(name)}${nearest.length === 0 ? '' : `  (nearest: ${nearest.map((near) => oneLine(near)).join(', ')})`}`;
  const shaped = (entry: WrongShape) =>
    `${oneLine(entry.name)}  is ${shape(entry.stored)}, wanted ${shape(entry.wanted)}`;
  return [
    ...section('missing', match.missing.map(named)),
    ...section('unexpected', match.unexpected.map(named)),
    ...section('transposed', match.transposed.map(shaped)),
    ...section('misshapen', match.misshapen.map(shaped)),
  ].join('\n');
}

/** Throws `OpabiniaError` that lists everything wrong; `what` names the checkpoint. */
export function checkMatch(match: Match, what: string): void {
  if (matches(match)) return;
  const advice =
    match.transposed.length > 0
      ? 'transposed tensors come from another framework: convert the checkpoint'
      : match.misshapen.length > 0
        ? 'the config is of another size than the weights: take both from one place'
        : 'the config and the weights may be of different models, or of another version of one';
  throw new OpabiniaError(`${what} does not fit the model, which reads ${match.wanted} tensors\n${printMatch(match)}`, {
    op: 'match',
    advice,
  });
}

/**
 * Throws `OpabiniaError` where what a model reads is stored as whole numbers: they are codes of a quantization that nothing here states, and
 * as weights they would be noise. `stored`: what was matched; `what` names the checkpoint.
 */
export function checkFloats(match: Match, stored: Iterable<StoredTensor>, what: string): void {
  const left = new Set([...match.ignored, ...match.unexpected].map(({ name }) => name));
  const wrong = [...stored].filter(
    ({ name, dtype, packed }) => packed === undefined && !/^B?F/.test(dtype) && !left.has(name),
  );
  const [first] = wrong;
  if (first === undefined) return;
  throw new OpabiniaError(
    `${what} holds '${oneLine(first.name)}' as ${first.dtype}${wrong.length === 1 ? '' : `, and ${wrong.length - 1} more of what the model reads`}: whole numbers are no weights`,
    {
      op: 'match',
      advice: 'they may be quantized in a way that its config does not state: take the checkpoint in F32, F16 or BF16',
    },
  );
}

/** What a compiled program reads. */
export function parametersOf(plan: Plan): ShapesByName {
  return new Map(
    plan.parameters.map((parameter) => [
      parameter.name,
      parameter.axes.map((axis) => evaluateFormula(axis.size, new Map())),
    ]),
  );
}
