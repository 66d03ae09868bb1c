// `opabinia serve DIR --port 8000`: a model behind OpenAI's API. The address on stdout once it answers, everything else on stderr.
import { basename, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { OpabiniaError } from '../dsl/index.ts';
import { openModel } from '../pipelines/answer/open-model.ts';
import { notesOnGeneration } from '../pipelines/answer/opened-model.ts';
import { shorterContext } from '../pipelines/answer/session-plans.ts';
import { RowSession } from '../pipelines/answer/rows/row-session.ts';
import {
  defaultBodyBytes,
  defaultPort,
  defaultQueue,
  isLoopback,
  serveChat,
  type Serving,
} from '../pipelines/serve/serve.ts';
import { printBytes } from '../runtime/device/memory-budget.ts';
import { loadProgress } from './load-progress.ts';
import { deviceOption, openPlace, storageOn, type DeviceChoice } from './device-option.ts';
import { several, whole } from './options.ts';
import { say, tell, tellError } from './output.ts';
import { connectorsOption, ownConnectors, type ConnectorsFlags } from './own-connectors.ts';
import { dtypeOption, keepOption, quantizeOption, weightsOption, type StorageFlags } from './weights-options.ts';
import { plural } from '../dsl/text/plural.ts';

export interface ServeFlags extends ConnectorsFlags, StorageFlags {
  readonly host: string;
  readonly port: string;
  readonly apiKey?: string | undefined;
  readonly name?: string | undefined;
  readonly rows?: string | undefined;
  readonly context?: string | undefined;
  readonly images: string;
  readonly queue: string;
  readonly maxBody: string;
  readonly tower: readonly string[];
  readonly device: DeviceChoice;
}

const mebi = 2 ** 20;

export function addServe(program: Command): void {
  program
    .command('serve')
    .description("answer OpenAI's chat completions over HTTP with a model directory, or owner/name in the cache")
    .argument('<model>', 'a Hugging Face directory of a Cambrian, of a LLaVA or of a language model, or a .gguf file')
    .option('--port <number>', 'of this machine; 0 takes a free one', String(defaultPort))
    .option('--host <address>', 'where to listen; any other than loopback needs a key', '127.0.0.1')
    .addOption(new Option('--api-key <key>', 'what clients must send as Authorization: Bearer').env('OPABINIA_API_KEY'))
    .option('--name <name>', 'what clients call the model; by default the last part of its path')
    .option('--rows <count>', 'questions that are answered at once (default: 8)')
    .option('--context <tokens>', 'tokens of one prompt and its answer together (default: 2048)')
    .option('--images <count>', 'pictures in one question, at most', '4')
    .option(
      '--queue <count>',
      'questions that wait for a row, at most; beyond, clients are told to come back',
      String(defaultQueue),
    )
    .option('--max-body <MiB>', 'of one request, at most', String(defaultBodyBytes / mebi))
    .addOption(weightsOption())
    .addOption(quantizeOption())
    .addOption(keepOption())
    .addOption(connectorsOption())
    .option(
      '--tower <directory>',
      'where the vision towers are, in the order of the config; of a model in GGUF its mmproj',
      several,
      [],
    )
    .addOption(dtypeOption('f32'))
    .addOption(deviceOption())
    .action(async (model: string, flags: ServeFlags) => {
      await serveModel(model, flags, { ready: ({ url }) => say(url), stopped: untilStopped });
    });
}

interface Around {
  readonly ready: (serving: Serving) => void;
  /** Resolves when the server is to close. */
  readonly stopped: () => Promise<string>;
}

/** Serves until it is stopped, and what was asked is answered. Throws `OpabiniaError`, `DeviceError`. */
export async function serveModel(directory: string, flags: ServeFlags, { ready, stopped }: Around): Promise<void> {
  const began = performance.now();
  const note = (text: string): void =>
    tell(`[${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s] ${text}`);
  // What is wrong with the options is told before a model is loaded.
  const { host, apiKey } = flags;
  if (!isLoopback(host) && apiKey === undefined)
    throw new OpabiniaError(`--host ${host} is reached from other machines, and no key is asked for`, {
      op: 'serve',
      advice: 'give --api-key (or OPABINIA_API_KEY), or stay on 127.0.0.1',
    });
  if (apiKey === '')
    throw new OpabiniaError('--api-key is empty', { op: 'serve', advice: 'leave it out, or give one' });
  const [images, queue, port] = [whole('--images', flags.images), count('--queue', flags.queue), portOf(flags.port)];
  const bodyBytes = whole('--max-body', flags.maxBody) * mebi;
  const rows = flags.rows === undefined ? undefined : whole('--rows', flags.rows);
  const context = flags.context === undefined ? undefined : whole('--context', flags.context);
  const model = await openModel(directory, {
    ...storageOn(flags),
    towers: flags.tower.length === 0 ? undefined : flags.tower,
    connectors: await ownConnectors(flags),
  });
  try {
    const shorter = shorterContext(model, context);
    if (shorter !== undefined) note(shorter);
    for (const line of notesOnGeneration(model)) note(line);
    const place = await openPlace(flags.device);
    try {
      const session = await RowSession.open(model, place, { rows, context, images, note, progress: loadProgress() });
      try {
        const serving = await serveChat(
          {
            name: flags.name ?? basename(resolve(directory)),
            created: Math.floor(Date.now() / 1000),
            upright: model.upright,
            images,
            maxNewTokens: model.maxNewTokens,
            session,
            decoder: model.tokenizer,
            deviceBytes: () => place.memory.now,
          },
          { host, port, apiKey, queue, bodyBytes, failed: tellError },
        );
        const later = flags.device === 'gpu' ? '; the driver compiles each kernel when it is first used' : '';
        note(
          `${plural(session.rows.all, 'row')} of ${plural(session.context, 'token')}; ${printBytes(place.memory.now)} on ${place.facts.name}${later}`,
        );
        ready(serving);
        note(`${await stopped()}: answering what was asked`);
        await serving.close();
        note('closed');
      } finally {
        await session.close();
      }
    } finally {
      place.close();
    }
  } finally {
    model.close();
  }
}

/** The first signal; a second one ends the process where it is. */
async function untilStopped(): Promise<string> {
  const { promise, resolve: stop } = Promise.withResolvers<string>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => {
      process.once(signal, () => process.exit(signal === 'SIGINT' ? 130 : 143));
      stop(signal);
    });
  return promise;
}

/** Throws `OpabiniaError` that names the option. */
function count(option: string, text: string): number {
  return text === '0' ? 0 : whole(option, text);
}

function portOf(text: string): number {
  const port = count('--port', text);
  if (port <= 65_535) return port;
  throw new OpabiniaError(`--port is '${text}'`, { op: 'serve', advice: 'give a number up to 65535' });
}
