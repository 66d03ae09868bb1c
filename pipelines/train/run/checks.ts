// What is looked at before the first step, as a list that a person reads, and what is noticed while a run goes.
import { OpabiniaError } from '../../../dsl/error.ts';
import { plural } from '../../../dsl/text/plural.ts';
import type { ResolvedGroup } from '../step/groups.ts';
import type { TrainBatch } from '../trainable.ts';

export interface Check {
  readonly what: string;
  readonly verdict: 'ok' | 'note' | 'WRONG';
}

/** Path up to the first number: `model.layers`, `model.vision_sampler_0`. A and B of an addition belong to the module that they change. */
export function moduleOf(path: string): string {
  const names = path.replace(/\.lora_[AB]\.weight$/, '.weight').split('.');
  const number = names.findIndex((name) => /^\d+$/.test(name));
  return names.slice(0, number < 0 ? Math.max(1, names.length - 1) : number).join('.');
}

/** √Σ of the squares, by module. */
export function moduleNorms(paths: readonly string[], squares: ArrayLike<number>): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  paths.forEach((path, i) => sums.set(moduleOf(path), (sums.get(moduleOf(path)) ?? 0) + (squares[i] ?? NaN)));
  return new Map([...sums].map(([module, sum]) => [module, Math.sqrt(sum)]));
}

export interface FirstStep {
  readonly batches: readonly TrainBatch[];
  readonly groups: readonly ResolvedGroup[];
  readonly learned: readonly string[];
  readonly squares: ArrayLike<number>;
  readonly loss: number;
}

export function firstChecks({ batches, groups, learned, squares, loss }: FirstStep): readonly Check[] {
  const sum = (pick: (batch: TrainBatch) => number): number => batches.reduce((all, batch) => all + pick(batch), 0);
  const [targets, tokens] = [sum((batch) => batch.targets), sum((batch) => batch.tokens)];
  const checks: Check[] = [
    {
      what: `${targets} of ${plural(tokens, 'token')} ${targets === 1 ? 'is' : 'are'} learned`,
      verdict: targets > 0 ? 'ok' : 'WRONG',
    },
    ...groups.map((group, g): Check => ({
      what: `group ${g + 1} (${group.paths.slice(0, 3).join(' ')}) has ${plural(group.members.length, 'parameter')}, rate ${group.lr}`,
      verdict: group.members.length > 0 ? 'ok' : 'WRONG',
    })),
  ];
  const visual = batches.flatMap((batch) => batch.visual);
  const wrong = visual.find(({ found, wanted }) => found !== wanted);
  checks.push(
    wrong === undefined
      ? {
          what: `${plural(visual.length, 'picture stands with all its', 'pictures stand with all their')} tokens${visual[0] === undefined ? '' : `, ${visual[0].found} the first`}`,
          verdict: 'ok',
        }
      : {
          what: `a picture stands with ${plural(wrong.found, 'token')}, and the layout asks for ${wrong.wanted}: it may be cut off, and then the stage wants a larger \`length\``,
          verdict: 'WRONG',
        },
  );
  for (const why of batches.flatMap((batch) => batch.replaced))
    checks.push({ what: `replaced by the first sample: ${why}`, verdict: 'note' });
  checks.push({ what: `loss ${loss.toFixed(4)}`, verdict: Number.isFinite(loss) ? 'ok' : 'WRONG' });
  for (const [module, norm] of moduleNorms(learned, squares))
    checks.push({
      what: `gradient of ${module}: ${norm.toExponential(2)}`,
      verdict: Number.isFinite(norm) && norm > 0 ? 'ok' : 'WRONG',
    });
  const isStill = new Set(learned.filter((_, i) => squares[i] === 0));
  // B begins with zeros, through which nothing reaches A: it learns from the second step on.
  const waits = (path: string): boolean =>
    path.endsWith('.lora_A.weight') && !isStill.has(path.replace(/A\.weight$/, 'B.weight'));
  const without = [...isStill].filter((path) => !waits(path));
  if (without.length > 0)
    checks.push({
      what: `${plural(without.length, 'parameter gets', 'parameters get')} no gradient: ${without.slice(0, 3).join(', ')}${without.length > 3 ? ', …' : ''}`,
      verdict: 'note',
    });
  return checks;
}

const marks = { ok: '✓', note: '·', WRONG: '✗' } as const;

export function printCheck({ what, verdict }: Check): string {
  return `  ${marks[verdict]} ${what}`;
}

/** Throws `OpabiniaError` that names what is wrong. */
export function refuseWrong(checks: readonly Check[]): void {
  const wrong = checks.filter((check) => check.verdict === 'WRONG');
  if (wrong.length === 0) return;
  const still = wrong.every(({ what }) => what.startsWith('gradient of ') && what.endsWith(': 0.00e+0'));
  throw new OpabiniaError(`before the first step: ${wrong.map((check) => check.what).join('; ')}`, {
    op: 'train',
    advice: still
      ? 'no step was taken: what gets no gradient learns nothing; name it in `frozen` of the stage, or see why the loss does not depend on it'
      : 'no step was taken: look at the list above',
  });
}

/** Notices losses that jump and modules that die. */
export class Watch {
  readonly #losses: number[] = [];
  readonly #dead = new Set<string>();

  /** What is to be told of a logged step. */
  see(loss: number, norms: ReadonlyMap<string, number>): readonly string[] {
    const notes: string[] = [];
    const recent = this.#losses.slice(-50);
    if (recent.length >= 10) {
      const mean = recent.reduce((sum, one) => sum + one, 0) / recent.length;
      const spread = Math.sqrt(recent.reduce((sum, one) => sum + (one - mean) ** 2, 0) / recent.length);
      if (loss > mean + Math.max(6 * spread, 0.5 * mean))
        notes.push(`the loss jumps to ${loss.toFixed(3)}, from ${mean.toFixed(3)} on average`);
    }
    if (Number.isFinite(loss)) this.#losses.push(loss);
    for (const [module, norm] of norms) {
      if (norm === 0 && !this.#dead.has(module)) {
        this.#dead.add(module);
        notes.push(`${module} gets no gradient any more`);
      } else if (norm > 0) this.#dead.delete(module);
    }
    return notes;
  }
}

/** Reasons for replaced samples that are told one by one. */
const mostTold = 10;

type Batches = readonly Pick<TrainBatch, 'replaced'>[];

/**
 * Samples that the first one takes the place of: told as they come, and counted at the end. Else missing pictures would be silence, and the
 * first sample learned by heart.
 */
export class Replaced {
  readonly #known = new Set<string>();
  #count = 0;

  /** Counts those of a step that somebody has told of. */
  note(batches: Batches): void {
    for (const why of batches.flatMap(({ replaced }) => replaced)) {
      this.#count++;
      this.#known.add(why);
    }
  }

  /** Counts those of a step, and gives what is to be told: a reason once, and so many of them. `where`: `step 3`. */
  see(where: string, batches: Batches): readonly string[] {
    const lines: string[] = [];
    for (const why of batches.flatMap(({ replaced }) => replaced)) {
      this.#count++;
      if (this.#known.size >= mostTold || this.#known.has(why)) continue;
      this.#known.add(why);
      lines.push(`  · ${where}: replaced by the first sample: ${why}`);
    }
    return lines;
  }

  /** The last line of a stage; none where nothing was replaced. `samples`: how many were taken. */
  sum(samples: number): readonly string[] {
    return this.#count === 0
      ? []
      : [
          `  · ${this.#count} of ${plural(samples, 'sample')} ${this.#count === 1 ? 'was' : 'were'} replaced by the first one`,
        ];
  }
}
