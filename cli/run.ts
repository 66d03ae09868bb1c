// `opabinia run DIR --image cat.jpg --prompt "…"`: an answer about pictures. Words on stdout as they come, everything else on stderr.
import { Option, type Command } from 'commander';
import { OpabiniaError } from '../dsl/index.ts';
import { roomFor } from '../pipelines/answer/generate.ts';
import { decodeImage } from '../runtime/image/image.ts';
import { printBytes } from '../runtime/device/memory-budget.ts';
import type { BlockPosition, Question } from '../pipelines/answer/family.ts';
import { openModel } from '../pipelines/answer/open-model.ts';
import { notesOnGeneration } from '../pipelines/answer/opened-model.ts';
import { contextFor, contextOf, shorterContext } from '../pipelines/answer/session-plans.ts';
import { Session, type Answer, type AnswerOptions } from '../pipelines/answer/session.ts';
import { deviceOption, openPlace, storageOn, type DeviceChoice } from './device-option.ts';
import { natural, several, whole } from './options.ts';
import { dtypeOption, keepOption, quantizeOption, weightsOption, type StorageFlags } from './weights-options.ts';
import { loadProgress } from './load-progress.ts';
import { say, tell, write } from './output.ts';
import { connectorsOption, ownConnectors, type ConnectorsFlags } from './own-connectors.ts';

export interface RunFlags extends ConnectorsFlags, StorageFlags {
  readonly image: readonly string[];
  readonly prompt: string;
  readonly system?: string | undefined;
  readonly maxNewTokens?: string | undefined;
  readonly temperature: string;
  readonly topK?: string | undefined;
  readonly topP?: string | undefined;
  readonly repetitionPenalty?: string | undefined;
  readonly stop: readonly string[];
  readonly seed?: string | undefined;
  readonly context?: string | undefined;
  readonly tower: readonly string[];
  readonly imagePosition?: BlockPosition | undefined;
  readonly device: DeviceChoice;
  readonly json?: true | undefined;
}

/** What `--json` prints. Times in seconds, memory in bytes. */
export interface RunReport {
  readonly answer: string;
  readonly tokens: readonly number[];
  readonly reason: Answer['reason'];
  readonly seed: number | undefined;
  readonly loadSeconds: number;
  /** From the question to its first token: pictures, prefill, and what the driver compiles. */
  readonly firstTokenSeconds: number;
  /** After the first; undefined when there is only one. */
  readonly tokensPerSecond: number | undefined;
  readonly peakBytes: number;
  readonly device: string;
}

export function addRun(program: Command): void {
  program
    .command('run')
    .description('answer a prompt about images with a model directory, or owner/name in the cache')
    .argument('<model>', 'a Hugging Face directory of a Cambrian, of a LLaVA or of a language model, or a .gguf file')
    .addOption(weightsOption())
    .addOption(quantizeOption())
    .addOption(keepOption())
    .addOption(connectorsOption())
    .requiredOption('--prompt <text>', 'what to ask')
    .option('--image <file>', 'JPEG, PNG or WebP; may be given several times', several, [])
    .option('--system <text>', "instead of the template's own words")
    .option('--max-new-tokens <count>', 'tokens of the answer at most')
    .option('--temperature <number>', '0 takes the likeliest token each time', '0')
    .option(
      '--top-k <count>',
      'with a temperature: draw from so many of the likeliest tokens; else as generation_config.json says',
    )
    .option(
      '--top-p <share>',
      'with a temperature: draw from the likeliest tokens of this probability together; else as generation_config.json says',
    )
    .option(
      '--repetition-penalty <number>',
      'above 1: tokens that stand in the text are less likely; else as generation_config.json says, 1: not at all',
    )
    .option('--stop <text>', 'end where the answer has this text; may be given several times', several, [])
    .option('--seed <number>', 'with a temperature: of the draw')
    .option('--context <tokens>', 'tokens of prompt and answer together; by default 2048, or what a long prompt needs')
    .option(
      '--tower <directory>',
      'where the vision towers are, in the order of the config; of a model in GGUF its mmproj',
      several,
      [],
    )
    .addOption(
      new Option('--image-position <where>', 'where SVA layers look for the image').choices(['reference', 'true']),
    )
    .addOption(dtypeOption('f32'))
    .addOption(deviceOption())
    .option('--json', 'print one JSON object at the end instead of words')
    .action(async (model: string, flags: RunFlags) => {
      const stopper = new AbortController();
      // While the compiler holds the thread nothing here would be called: until then the signal itself ends the process, with the same code.
      const listen = (): void =>
        void process.once('SIGINT', () => {
          stopper.abort();
          // The device may be in the middle of a long run, which nothing can stop but the end of the process.
          process.exit(130);
        });
      const report = await runModel(model, flags, { signal: stopper.signal, compiled: listen });
      if (flags.json === true) say(JSON.stringify(report));
    });
}

/** The answer; prints as it goes. Throws `OpabiniaError`, `DeviceError`. */
export async function runModel(
  directory: string,
  flags: RunFlags,
  { signal, compiled }: { readonly signal: AbortSignal; readonly compiled: () => void },
): Promise<RunReport> {
  const options = answerOptions(flags, signal);
  const began = performance.now();
  const seconds = (since: number): number => (performance.now() - since) / 1000;
  const note = (text: string): void => tell(`[${seconds(began).toFixed(1).padStart(6)} s] ${text}`);
  const model = await openModel(directory, {
    ...storageOn(flags),
    towers: flags.tower.length === 0 ? undefined : flags.tower,
    connectors: await ownConnectors(flags),
  });
  try {
    const images = await Promise.all(flags.image.map((file) => decodeImage(file, { note, upright: model.upright })));
    const question: Question = { text: flags.prompt, images, system: flags.system };
    // What cannot be asked is refused before the device is opened, not after a model was loaded.
    const { width, rows } = await model.family.layOut([question], options);
    // Layers that look for the image are told where each token's query is.
    if (flags.imagePosition !== undefined && !Object.hasOwn(rows, 'query_slot'))
      throw new OpabiniaError('--image-position says nothing of a model without SVA layers in its language model', {
        op: 'run',
        advice: 'leave it out',
      });
    const context =
      flags.context === undefined
        ? contextFor(width, options.maxNewTokens ?? model.maxNewTokens)
        : whole('--context', flags.context);
    const shorter = flags.context === undefined ? undefined : shorterContext(model, context);
    if (shorter !== undefined) note(shorter);
    for (const line of notesOnGeneration(model, options)) note(line);
    roomFor(width, contextOf(model, context));
    const place = await openPlace(flags.device);
    try {
      const session = await Session.open(
        model,
        place,
        { context, images: images.length, note, progress: loadProgress(), compiled },
        options,
      );
      try {
        const loadSeconds = seconds(began);
        const later = flags.device === 'gpu' ? '; first the driver compiles each kernel' : '';
        note(`${printBytes(place.memory.now)} on ${place.facts.name}${later}`);
        const asked = performance.now();
        let first: number | undefined;
        const answers = session.answer(question, {
          ...options,
          maxNewTokens: options.maxNewTokens ?? model.maxNewTokens,
          onToken: () => {
            first ??= performance.now();
          },
        });
        const answer = await written(answers, flags);
        const [firstAt, rest] = [first ?? performance.now(), answer.tokens.length - 1];
        const report: RunReport = {
          answer: answer.text,
          tokens: answer.tokens,
          reason: answer.reason,
          seed: options.seed,
          loadSeconds,
          firstTokenSeconds: (firstAt - asked) / 1000,
          tokensPerSecond: rest > 0 ? rest / seconds(firstAt) : undefined,
          peakBytes: place.memory.peak,
          device: place.facts.name,
        };
        note(summary(report));
        return report;
      } finally {
        session.dispose();
      }
    } finally {
      place.close();
    }
  } finally {
    model.close();
  }
}

/** Words on stdout as they come, unless the report is all that is wanted. */
async function written(answers: AsyncGenerator<string, Answer, undefined>, { json }: RunFlags): Promise<Answer> {
  for (;;) {
    const next = await answers.next();
    if (next.done === true) {
      if (json !== true) write('\n');
      return next.value;
    }
    if (json !== true) write(next.value);
  }
}

function summary(report: RunReport): string {
  const { tokens, reason, firstTokenSeconds, tokensPerSecond, peakBytes } = report;
  const why = {
    end: 'ended by the model',
    stop: 'ended by a stop string',
    length: 'as many as were allowed',
  } satisfies Record<RunReport['reason'], string>;
  const speed = tokensPerSecond === undefined ? '' : `, then ${tokensPerSecond.toFixed(1)} tokens/s`;
  return `${tokens.length} token${tokens.length === 1 ? '' : 's'} (${why[reason]}), the first after ${firstTokenSeconds.toFixed(2)} s${speed}; at most ${printBytes(peakBytes)} on the device`;
}

/** Throws `OpabiniaError` that names the option. */
function answerOptions(flags: RunFlags, signal: AbortSignal): AnswerOptions {
  const number = (option: string, text: string | undefined, least: number, most: number): number | undefined => {
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text.trim() !== '' && value >= least && value <= most) return value;
    throw new OpabiniaError(`${option} is '${text}'`, { op: 'run', advice: `give a number from ${least} to ${most}` });
  };
  const temperature = number('--temperature', flags.temperature, 0, 100) ?? 0;
  const seed = flags.seed === undefined ? undefined : natural('--seed', flags.seed);
  const ofDrawing = { topK: '--top-k', topP: '--top-p', seed: '--seed' } as const;
  const idle = (['topK', 'topP', 'seed'] as const).find((key) => temperature === 0 && flags[key] !== undefined);
  if (idle !== undefined)
    throw new OpabiniaError(`${ofDrawing[idle]} says nothing without a temperature`, {
      op: 'run',
      advice: 'give --temperature 1, or another above 0; without one the likeliest token is taken each time',
    });
  if (flags.stop.includes(''))
    throw new OpabiniaError('--stop is empty', {
      op: 'run',
      advice: 'give the text that ends an answer, or leave it out',
    });
  return {
    signal,
    temperature,
    position: flags.imagePosition,
    stop: flags.stop,
    topK: flags.topK === undefined ? undefined : whole('--top-k', flags.topK),
    topP: number('--top-p', flags.topP, 0, 1),
    repetitionPenalty: number('--repetition-penalty', flags.repetitionPenalty, 0.01, 100),
    maxNewTokens: flags.maxNewTokens === undefined ? undefined : whole('--max-new-tokens', flags.maxNewTokens),
    // Said at the end, so that the same answer can be had again.
    seed: seed ?? (temperature > 0 ? Math.floor(Math.random() * 2 ** 31) : undefined),
  };
}
