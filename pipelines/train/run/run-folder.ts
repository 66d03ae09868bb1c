// The folder of a run: its config, the log that grows, event files, and the state that other programs read.
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { dropCheckpointsBehind, listCheckpoints } from './checkpoints.ts';
import { EventFile, rewindEvents } from './event-file.ts';
import { stageFile } from './stage-weights.ts';
import { makeFolder } from '../../../runtime/files/make-folder.ts';

/** A line of `metrics.jsonl`. */
export const metricSchema = z.object({
  stage: z.int(),
  step: z.int(),
  epoch: z.number(),
  loss: z.number().nullable(),
  gradientNorm: z.number().nullable(),
  learningRate: z.number(),
  tokens: z.number(),
  tokensPerSecond: z.number(),
  skipped: z.boolean(),
  scale: z.number(),
  memory: z.number(),
  evaluation: z.number().nullish(),
});
export type MetricLine = z.infer<typeof metricSchema>;

/** What there is of a run in a folder: nothing, one that kept nothing yet, or one with something to lose. */
export function heldBy(path: string): 'nothing' | 'a beginning' | 'a run' {
  const log = statSync(join(path, 'metrics.jsonl'), { throwIfNoEntry: false });
  if ((log?.size ?? 0) > 0 || listCheckpoints(path).length > 0 || existsSync(stageFile(path, 0))) return 'a run';
  return log !== undefined || existsSync(join(path, 'config.json')) ? 'a beginning' : 'nothing';
}

/** A folder for each stage, since TensorBoard draws all files of one as one curve, and the steps of the next stage begin anew. */
const eventsFolder = 'events';

export class RunFolder {
  readonly path: string;
  #events: EventFile | undefined;

  /** A new folder is made when something is written. Throws `OpabiniaError` when a run is in it already and is not to go on. */
  constructor(root: string, name: string, resume: boolean) {
    this.path = join(root, name);
    this.refuseRun(resume);
    if (resume) this.#make();
  }

  /** Throws `OpabiniaError` when a run is in it that is not to go on. */
  refuseRun(resume: boolean): void {
    if (!resume && heldBy(this.path) === 'a run')
      throw new OpabiniaError(`${this.path} holds a run`, {
        op: 'train',
        advice: 'go on with it by --resume, or give another name: --set name=…',
      });
  }

  #make(): void {
    makeFolder(this.path);
  }

  writeConfig(config: unknown): void {
    this.#make();
    writeFileAtomic(join(this.path, 'config.json'), `${JSON.stringify(config, null, 2)}\n`, { op: 'train' });
  }

  writeState(text: string): void {
    writeFileAtomic(join(this.path, 'trainer_state.json'), text, { op: 'train' });
  }

  /** The lines so far. A last one that was cut off by a power cut is left out. */
  metrics(): readonly MetricLine[] {
    const path = join(this.path, 'metrics.jsonl');
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8')
      .split('\n')
      .flatMap((line) => {
        try {
          const found = metricSchema.safeParse(JSON.parse(line));
          return found.success ? [found.data] : [];
        } catch {
          return [];
        }
      });
  }

  /** Forgets the lines, the events and the checkpoints behind a checkpoint: their steps are taken again. */
  rewind(stage: number, step: number): void {
    this.#make();
    dropCheckpointsBehind(this.path, { stage, step });
    const kept = this.metrics().filter((line) => line.stage < stage || (line.stage === stage && line.step <= step));
    writeFileAtomic(join(this.path, 'metrics.jsonl'), kept.map((line) => `${JSON.stringify(line)}\n`).join(''), {
      op: 'train',
    });
    const events = join(this.path, eventsFolder);
    for (const name of existsSync(events) ? readdirSync(events) : []) {
      const own = Number(/^stage-(\d+)$/.exec(name)?.[1]) - 1;
      if (own > stage || (own === stage && step === 0)) rmSync(join(events, name), { recursive: true });
      else if (own === stage)
        for (const file of readdirSync(join(events, name)))
          if (file.startsWith('events.out.tfevents.')) rewindEvents(join(events, name, file), step);
    }
  }

  append(line: MetricLine): void {
    this.#make();
    appendFileSync(join(this.path, 'metrics.jsonl'), `${JSON.stringify(line)}\n`);
    const seconds = Date.now() / 1000;
    if (this.#events === undefined) {
      const own = join(this.path, eventsFolder, `stage-${line.stage + 1}`);
      makeFolder(own);
      this.#events = new EventFile(join(own, `events.out.tfevents.${Math.floor(seconds)}.${process.pid}`), seconds);
    }
    const scalars = {
      'train/loss': line.loss ?? NaN,
      'train/grad_norm': line.gradientNorm ?? NaN,
      'train/learning_rate': line.learningRate,
      'train/tokens_per_second': line.tokensPerSecond,
      'train/epoch': line.epoch,
      ...(line.evaluation === undefined ? {} : { 'eval/loss': line.evaluation ?? NaN }),
    };
    this.#events.append(seconds, line.step, scalars);
  }

  /** The next stage has a folder of its own. */
  endStage(): void {
    this.#events = undefined;
  }
}
