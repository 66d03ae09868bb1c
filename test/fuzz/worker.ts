// The child process that holds the GPU: takes a case, then runs it as compiled, or with a planted mistake. What kills it is a finding.
import { openGpu, type Gpu } from '../gpu/compare.ts';
import { fromWire, type FuzzCase, type Wire } from './case.ts';
import { asOutcome, compileCase, Expected, profileOf, runCase, type Compiled, type Outcome } from './judge.ts';
import { mutants } from './mutants.ts';

export type Order =
  | { readonly kind: 'case'; readonly wire: Wire }
  /** Without a mutant: the compiler as it is. `dry`: only whether the mutant changes the plan. */
  | { readonly kind: 'run'; readonly mutant?: string | undefined; readonly dry?: boolean };

export interface Answer {
  readonly outcome: Outcome;
  readonly milliseconds: number;
}

interface Open {
  readonly given: FuzzCase;
  readonly expected: Expected;
  /** The plan without a mutant, as text; undefined where the compiler refuses the case. */
  readonly plain: string | undefined;
}

let open: Open | undefined;

async function answer(gpu: Gpu, order: Order): Promise<Outcome> {
  if (order.kind === 'case') {
    const given = fromWire(order.wire);
    open = { given, expected: new Expected(given), plain: undefined };
    return { kind: 'same' };
  }
  if (open === undefined) throw new TypeError('no case was given');
  const { given, expected } = open;
  const profile = profileOf(gpu, given);
  let compiled: Compiled | undefined;
  if (order.mutant === undefined) {
    try {
      compiled = compileCase(given, profile);
    } catch (error) {
      return asOutcome(error);
    }
    open = { ...open, plain: JSON.stringify(compiled?.plan) };
  } else {
    const mutant = mutants.find(({ name }) => name === order.mutant);
    if (mutant === undefined) throw new TypeError(`no mutant is called '${order.mutant}'`);
    try {
      if (open.plain === undefined) open = { ...open, plain: JSON.stringify(compileCase(given, profile)?.plan) };
    } catch {
      return { kind: 'same' };
    }
    try {
      compiled = compileCase(given, profile, mutant);
    } catch (error) {
      return { kind: 'compile', what: error instanceof Error ? error.message : String(error) };
    }
    if (compiled === undefined || JSON.stringify(compiled.plan) === open.plain) return { kind: 'same' };
    if (order.dry === true) return { kind: 'ok', compared: 0, vacuous: 0, templates: [] };
  }
  if (compiled === undefined) return { kind: 'same' };
  try {
    return await runCase(gpu, given, compiled, expected);
  } catch (error) {
    return { kind: 'wrong', what: error instanceof Error ? error.message : String(error) };
  }
}

const gpu = await openGpu();
process.on('message', (order: Order) => {
  const start = performance.now();
  void answer(gpu, order).then(
    (outcome) => process.send?.({ outcome, milliseconds: performance.now() - start } satisfies Answer),
    (error: unknown) =>
      process.send?.({
        outcome: { kind: 'crash', what: error instanceof Error ? (error.stack ?? error.message) : String(error) },
        milliseconds: performance.now() - start,
      } satisfies Answer),
  );
});
process.on('disconnect', () => process.exit(0));
