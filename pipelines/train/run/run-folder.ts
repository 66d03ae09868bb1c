// The folder of a run: its config, the log that grows, event files, and the state that other programs read.
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { EventFile } from './event-file.ts';

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
  evaluation: z.number().optional(),
});
export type MetricLine = z.infer<typeof metricSchema>;

export class RunFolder {
  readonly path: string;
  #events: EventFile | undefined;

  /** Makes the folder. Throws `OpabiniaError` when a run is in it already and is not to go on. */
  constructor(root: string, name: string, resume: boolean) {
    this.path = join(root, name);
    if (!resume && existsSync(join(this.path, 'metrics.jsonl')))
      throw new OpabiniaError(`${this.path} holds a run`, {
        op: 'train',
        advice: 'go on with it by --resume, or give another name: --set name=…',
      });
    mkdirSync(this.path, { recursive: true });
  }

  writeConfig(config: unknown): void {
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

  /** Forgets the lines behind a checkpoint: their steps are taken again. */
  rewind(stage: number, step: number): void {
    const kept = this.metrics().filter((line) => line.stage < stage || (line.stage === stage && line.step <= step));
    writeFileAtomic(join(this.path, 'metrics.jsonl'), kept.map((line) => `${JSON.stringify(line)}\n`).join(''), {
      op: 'train',
    });
  }

  append(line: MetricLine): void {
    appendFileSync(join(this.path, 'metrics.jsonl'), `${JSON.stringify(line)}\n`);
    const seconds = Date.now() / 1000;
    this.#events ??= new EventFile(
      join(this.path, `events.out.tfevents.${Math.floor(seconds)}.${process.pid}.stage${line.stage + 1}`),
      seconds,
    );
    const scalars = {
      'train/loss': line.loss ?? NaN,
      'train/grad_norm': line.gradientNorm ?? NaN,
      'train/learning_rate': line.learningRate,
      'train/tokens_per_second': line.tokensPerSecond,
      'train/epoch': line.epoch,
      ...(line.evaluation === undefined ? {} : { 'eval/loss': line.evaluation }),
    };
    this.#events.append(seconds, line.step, scalars);
  }

  /** The next stage has a file of its own: its steps begin anew. */
  endStage(): void {
    this.#events = undefined;
  }
}
