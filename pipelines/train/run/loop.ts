// The loop of one stage: batch, step, log, save; from any step on, until it is done or told to stop.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { Device } from '../../../runtime/device/device.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import type { InitialStates } from '../../../runtime/program/upload.ts';
import type { LlavaSample } from '../data/llava-file.ts';
import { microBatchOf, type Stage } from '../recipe/recipe.ts';
import type { ResolvedGroup } from '../step/groups.ts';
import { rateFactor } from '../step/schedule.ts';
import { metricNames, type Metrics } from '../step/train-graph.ts';
import type { TrainBatch, Trainable } from '../trainable.ts';
import { firstChecks, moduleNorms, printCheck, refuseWrong, Replaced, Watch } from './checks.ts';
import { saveCheckpoint, type OpenedCheckpoint, type Position } from './checkpoints.ts';
import type { StepPrograms } from './programs.ts';
import { printProgress } from './progress.ts';
import type { RunFolder } from './run-folder.ts';
import { trainerState, type LogEntry } from './trainer-state.ts';

export interface StageRun {
  readonly stage: Stage;
  /** Its place in the recipe. */
  readonly index: number;
  readonly trainable: Trainable;
  readonly device: Device;
  readonly folder: RunFolder;
  /** Steps of the stage. */
  readonly total: number;
  /** Samples of the data set, for epochs. */
  readonly count: number;
  /** From the one after the last that was taken. */
  readonly samples: AsyncIterable<LlavaSample>;
  /** For the loss on other samples; begins anew each time. */
  readonly held?: (() => AsyncIterable<LlavaSample>) | undefined;
  /** What the run goes on from. */
  readonly checkpoint?: OpenedCheckpoint | undefined;
  /** Called when all is checked and the first step is about to be taken. */
  readonly begins?: (() => void) | undefined;
  /** True once the user wants to end: the step at hand is finished and saved. */
  readonly stopped: () => boolean;
  readonly print: (line: string) => void;
}

export interface StageResult {
  readonly position: Position;
  readonly ended: 'done' | 'stopped' | 'no more samples';
  /** Steps of the stage. */
  readonly total: number;
  /** Of the last step; of the last one that was logged where none was taken. */
  readonly loss: number;
}

const mostSkipped = 10;
/** Halves of the loss scale before the first step: from 65,536 to less than 1. */
const mostLowered = 20;

interface StepValues {
  readonly metrics: Metrics;
  /** Σ g² of each parameter; empty where it was not asked for. */
  readonly squares: ArrayLike<number>;
}

/** A step that is on the device. */
interface Submitted {
  readonly position: Position;
  readonly factor: number;
  readonly isLogged: boolean;
  readonly result: Promise<StepValues>;
}

/** Without a folder nothing is saved. */
export type LoopRun = Omit<StageRun, 'folder'> & { readonly folder: RunFolder | undefined };

export class Loop {
  readonly #run: LoopRun;
  readonly #programs: StepPrograms;
  readonly #groups: readonly ResolvedGroup[];
  readonly #learned: readonly string[];
  readonly #samples: AsyncIterator<LlavaSample>;
  readonly #watch = new Watch();
  readonly #replaced = new Replaced();
  readonly #heldReplaced = new Replaced();
  readonly #history: LogEntry[] = [];
  /** Batches that were made before their step: those of the checks. */
  readonly #ready: (readonly TrainBatch[])[] = [];
  #position: Position;
  #loss = NaN;
  #since: { readonly time: number; readonly tokens: number };

  constructor(run: LoopRun, programs: StepPrograms, groups: readonly ResolvedGroup[], learned: readonly string[]) {
    this.#run = run;
    this.#programs = programs;
    this.#groups = groups;
    this.#learned = learned;
    this.#samples = run.samples[Symbol.asyncIterator]();
    this.#position = run.checkpoint?.position ?? { stage: run.index, step: 0, samples: 0, tokens: 0 };
    this.#since = { time: performance.now(), tokens: this.#position.tokens };
  }

  /**
   * One step at a rate of 0 on the first batch; afterwards everything is as it was, but that a loss scale which the gradients of this batch do
   * not bear is lowered. Throws `OpabiniaError` when something is wrong. `first`: the first states, with a loss scale of its own.
   */
  async check(first: (scale?: number) => InitialStates): Promise<void> {
    const batches = await this.#nextBatches();
    if (batches === undefined)
      throw new OpabiniaError(`there are fewer samples than the ${this.#run.stage.batch} of a batch`, {
        op: 'train',
        advice: 'take a smaller batch',
      });
    this.#ready.push(batches);
    let given = await this.#step(batches, 0, true);
    const { scale } = given.metrics;
    // A step that is skipped halves the scale, as in a run; here it costs none. Without a scale, nothing would be another.
    for (let tries = 0; this.#isScaled() && tries < mostLowered && isTooLarge(given.metrics); tries++)
      given = await this.#step(batches, 0, true);
    const { metrics, squares } = given;
    const isLower = metrics.applied > 0.5 && metrics.scale !== scale;
    await this.#programs.step.reset(first(isLower ? metrics.scale : undefined));
    if (isLower)
      this.#run.print(`  · a loss scale of ${scale} is too large for the first batch: it begins at ${metrics.scale}`);
    const checks = firstChecks({ batches, groups: this.#groups, learned: this.#learned, squares, loss: metrics.loss });
    for (const check of checks) this.#run.print(printCheck(check));
    refuseWrong(checks);
  }

  #isScaled(): boolean {
    const { stage, trainable } = this.#run;
    return stage.scaling !== undefined || trainable.source.dtype === 'f16';
  }

  async go(): Promise<StageResult> {
    const { stage, index, total, folder } = this.#run;
    const { logEvery = 10, saveEvery = 500 } = stage;
    this.#run.begins?.();
    this.#readHistory();
    let ended: StageResult['ended'] = 'done';
    let saved = this.#position.step;
    const begun = this.#position.samples;
    let pending: Submitted | undefined;
    while (this.#position.step < total) {
      const step = this.#position.step + 1;
      // Those of the checks are told there.
      const isTold = this.#ready.length > 0;
      const batches = await this.#nextBatches();
      if (batches === undefined) {
        ended = 'no more samples';
        break;
      }
      if (isTold) this.#replaced.note(batches);
      else for (const line of this.#replaced.see(`step ${step}`, batches)) this.#run.print(line);
      const factor = rateFactor(stage.schedule, this.#position.step, total);
      const isLogged = step % logEvery === 0 || step === total;
      const result = this.#step(batches, factor, isLogged);
      const tokens = this.#position.tokens + batches.reduce((sum, batch) => sum + batch.tokens, 0);
      this.#position = { stage: index, step, samples: this.#position.samples + stage.batch, tokens };
      const now: Submitted = { position: this.#position, factor, isLogged, result };
      // What a step gave is read while the next one runs.
      const before = pending;
      pending = now;
      result.catch(() => undefined);
      // Micro-batches of two steps must not mix.
      if (this.#programs.accumulate !== undefined) await result;
      if (before !== undefined) await this.#settle(before);
      const stops = this.#run.stopped();
      const saves = step % saveEvery === 0 || step === total || stops;
      if (saves || this.#evaluates(step)) {
        pending = undefined;
        await this.#settle(now);
      }
      if (saves) {
        await this.#save();
        saved = step;
      }
      if (stops && step < total) {
        ended = 'stopped';
        break;
      }
    }
    if (pending !== undefined) await this.#settle(pending);
    for (const line of this.#replaced.sum(this.#position.samples - begun)) this.#run.print(line);
    if (saved !== this.#position.step) await this.#save();
    folder?.endStage();
    return { position: this.#position, ended, total, loss: this.#loss };
  }

  /** What the log has of the steps before. */
  #readHistory(): void {
    for (const line of this.#run.folder?.metrics() ?? [])
      if (line.stage === this.#run.index)
        this.#history.push({
          step: line.step,
          epoch: line.epoch,
          loss: line.loss ?? NaN,
          learningRate: line.learningRate,
          gradientNorm: line.gradientNorm ?? NaN,
        });
    this.#loss = this.#history.at(-1)?.loss ?? NaN;
  }

  /** Waits for a step and tells of it. Throws `OpabiniaError` after ten steps in a row that were not finite. */
  async #settle({ position, factor, isLogged, result }: Submitted): Promise<void> {
    const { metrics, squares } = await result;
    this.#loss = metrics.loss;
    this.#tellSkipped(metrics, position.step);
    const evaluated = this.#evaluates(position.step) ? await this.#evaluate() : undefined;
    if (!isLogged && evaluated === undefined) return;
    const now = performance.now();
    const tokensPerSecond = (position.tokens - this.#since.tokens) / Math.max(1e-3, (now - this.#since.time) / 1000);
    this.#since = { time: now, tokens: position.tokens };
    this.#log(position, metrics, factor, tokensPerSecond, evaluated);
    if (!isLogged) return;
    for (const note of this.#watch.see(metrics.loss, moduleNorms(this.#learned, squares)))
      this.#run.print(`  · step ${position.step}: ${note}`);
  }

  /** A step on the batch of the checks, which stays, at rates times `factor`. Gives its loss. */
  async repeat(factor: number): Promise<number> {
    const [batches] = this.#ready;
    if (batches === undefined) throw new TypeError('the batch of the checks is kept');
    const { metrics } = await this.#step(batches, factor, false);
    this.#position = { ...this.#position, step: this.#position.step + 1 };
    this.#tellSkipped(metrics, this.#position.step);
    return metrics.loss;
  }

  async #nextBatches(): Promise<readonly TrainBatch[] | undefined> {
    const ready = this.#ready.shift();
    if (ready !== undefined) return ready;
    const { stage, trainable } = this.#run;
    const size = microBatchOf(stage);
    const batches: TrainBatch[] = [];
    for (let m = 0; m < stage.batch / size; m++) {
      const samples: LlavaSample[] = [];
      while (samples.length < size) {
        const next = await this.#samples.next();
        if (next.done === true) return undefined;
        samples.push(next.value);
      }
      const batch = await trainable.batch(samples);
      refuseNaN(batch.inputs);
      batches.push(batch);
    }
    return batches;
  }

  async #step(batches: readonly TrainBatch[], factor: number, withSquares: boolean): Promise<StepValues> {
    const targets = batches.reduce((sum, batch) => sum + batch.targets, 0);
    const { accumulate, step } = this.#programs;
    for (const batch of batches.slice(0, -1))
      await accumulate?.run(
        { ...Object.fromEntries(batch.inputs), targets: Float32Array.of(targets) },
        { outputs: [] },
      );
    const outputs = await step.run(
      {
        ...Object.fromEntries(batches.at(-1)?.inputs ?? []),
        targets: Float32Array.of(targets),
        rates: Float32Array.from(this.#groups, (group) => group.lr * factor),
      },
      { outputs: withSquares ? ['metrics', 'squares'] : ['metrics'] },
    );
    const values = Array.from(outputs['metrics']?.data ?? []);
    const metrics = Object.fromEntries(metricNames.map((name, i) => [name, values[i] ?? NaN])) as unknown as Metrics;
    return { metrics, squares: Array.from(outputs['squares']?.data ?? []) };
  }

  #tellSkipped(metrics: Metrics, step: number): void {
    if (metrics.applied > 0.5) return;
    const scaled = this.#run.trainable.source.dtype === 'f16' ? `; the loss scale was ${metrics.scale}` : '';
    this.#run.print(`  · step ${step} is skipped: gradients are not finite, loss ${metrics.loss}${scaled}`);
    if (metrics.skippedInARow < mostSkipped) return;
    throw new OpabiniaError(`${mostSkipped} steps in a row had gradients that are not finite`, {
      op: 'train',
      advice:
        'lower the learning rate, clip, or train as f32; a label that is no class makes a loss NaN too; the last checkpoint is from before',
    });
  }

  #evaluates(step: number): boolean {
    const { stage, held, total } = this.#run;
    if (stage.evaluation === undefined || held === undefined) return false;
    return step % stage.evaluation.every === 0 || step === total;
  }

  /** Mean loss over held-out batches. */
  async #evaluate(): Promise<number | undefined> {
    const { stage, held, trainable } = this.#run;
    const { evaluation } = stage;
    const program = this.#programs.evaluate;
    if (evaluation === undefined || held === undefined || program === undefined) return undefined;
    let [sum, targets, batches] = [0, 0, 0];
    let samples: LlavaSample[] = [];
    for await (const sample of held()) {
      samples.push(sample);
      if (samples.length < microBatchOf(stage)) continue;
      const batch = await trainable.batch(samples);
      for (const line of this.#heldReplaced.see('evaluation', [batch])) this.#run.print(line);
      samples = [];
      const outputs = await program.run(Object.fromEntries(batch.inputs));
      sum += outputs['loss']?.data[0] ?? NaN;
      targets += batch.targets;
      if (++batches >= evaluation.batches) break;
    }
    return sum / targets;
  }

  #log(
    position: Position,
    metrics: Metrics,
    factor: number,
    tokensPerSecond: number,
    evaluation: number | undefined,
  ): void {
    const { folder, device, total, count, index, stage } = this.#run;
    const { step, samples, tokens } = position;
    const learningRate = Math.max(...this.#groups.map((group) => group.lr)) * factor;
    const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
    const epoch = samples / Math.max(1, count);
    folder?.append({
      stage: index,
      step,
      epoch,
      loss: finite(metrics.loss),
      gradientNorm: finite(metrics.gradientNorm),
      learningRate,
      tokens,
      tokensPerSecond,
      skipped: metrics.applied < 0.5,
      scale: metrics.scale,
      memory: device.memory.now,
      ...(evaluation === undefined ? {} : { evaluation: finite(evaluation) }),
    });
    this.#history.push({ step, epoch, loss: metrics.loss, learningRate, gradientNorm: metrics.gradientNorm });
    const tokensLeft = (tokens / Math.max(1, step)) * (total - step);
    this.#run.print(
      printProgress({
        stage: stage.name,
        step,
        total,
        loss: metrics.loss,
        gradientNorm: metrics.gradientNorm,
        learningRate,
        tokensPerSecond,
        secondsLeft: tokensLeft / Math.max(1e-9, tokensPerSecond),
        memory: device.memory.now,
        evaluation,
      }),
    );
  }

  async #save(): Promise<void> {
    const { folder, stage, total, count, print } = this.#run;
    const state = trainerState({
      step: this.#position.step,
      maxSteps: total,
      epoch: this.#position.samples / Math.max(1, count),
      epochs: stage.epochs ?? 1,
      batch: stage.batch,
      loggingSteps: stage.logEvery ?? 10,
      saveSteps: stage.saveEvery ?? 500,
      tokensSeen: this.#position.tokens,
      history: this.#history,
    });
    if (folder === undefined) return;
    const path = await saveCheckpoint(folder.path, this.#position, this.#programs.saved(), {
      'trainer_state.json': state,
    });
    folder.writeState(state);
    print(`  saved ${path}`);
  }
}

/** Whether the loss is a number, and its gradients are not. */
function isTooLarge({ applied, loss }: Metrics): boolean {
  return applied < 0.5 && Number.isFinite(loss);
}

function refuseNaN(inputs: ReadonlyMap<string, Numbers>): void {
  for (const [name, values] of inputs) {
    if (!(values instanceof Float32Array)) continue;
    const at = values.findIndex((value) => Number.isNaN(value));
    if (at >= 0)
      throw new OpabiniaError(`the input '${name}' of a batch holds NaN at element ${at}`, {
        op: 'train',
        advice: 'look at the data, or delete cached features: no step was taken with it',
      });
  }
}
