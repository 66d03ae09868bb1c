// Mutations of good files, and what a reader may do with them: read them, or refuse them by a typed error, soon and in little memory.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { OpabiniaError } from '../../dsl/error.ts';
import { parse } from '../../dsl/text/parse.ts';
import { makeTokenizer } from '../../examples/made/vocabulary.ts';
import { readConfig } from '../../models/configs/read.ts';
import { releasedCambrian } from '../../models/configs/released.ts';
import { openPytorchFile } from '../../runtime/checkpoint/pytorch/pytorch-file.ts';
import { openSafetensors } from '../../runtime/checkpoint/safetensors.ts';
import { ggufTokenizer } from '../../runtime/gguf/gguf-tokenizer.ts';
import { openGgufLanguage } from '../../runtime/gguf/open-language.ts';
import { decodeImage } from '../../runtime/image/image.ts';
import { SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import { goodHeader, rawFile } from '../runtime/malformed-headers.ts';
import { ggufBytes } from '../support/write-gguf.ts';
import { goodSettings, goodTensors } from './handmade/gguf.ts';
import { Meter, worse, type Cost } from './meter.ts';

/** Headers are those of safetensors; pieces are SentencePiece's models. */
export const kinds = ['header', 'gguf', 'pickle', 'config', 'tokenizer', 'pieces', 'graph', 'image'] as const;
export type Kind = (typeof kinds)[number];

/** Numbers from 0 to 1 by a 32-bit generator: the same from one seed on every machine. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
  };
}

const pieces = [
  '-1',
  '0',
  '1e308',
  '4294967296',
  '9007199254740993',
  '__proto__',
  'null',
  '[]',
  '{}',
  '"',
  '\\u0000',
  '\u001b[2J',
  '::',
  '%0',
  'NaN',
];

/** One to four changes: a byte, a cut, a repetition, a piece that readers trip over. */
export function mutated(good: Uint8Array, random: () => number): Uint8Array {
  let bytes = Buffer.from(good);
  const below = (n: number): number => Math.floor(random() * n);
  for (let changes = 1 + below(4); changes > 0; changes--) {
    const at = below(bytes.length + 1);
    const end = Math.min(bytes.length, at + 1 + below(16));
    const between = (middle: Uint8Array, until = end) =>
      Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(until)]);
    switch (below(5)) {
      case 0:
        bytes = between(Buffer.from([below(256)]), at + 1);
        break;
      case 1:
        bytes = between(Buffer.alloc(0));
        break;
      case 2:
        bytes = between(Buffer.concat([bytes.subarray(at, end), bytes.subarray(at, end)]));
        break;
      case 3:
        bytes = between(Buffer.from(pieces[below(pieces.length)] ?? ''));
        break;
      default:
        bytes = bytes.subarray(0, Math.max(1, at));
    }
  }
  return bytes;
}

const graph = `graph (n <= 64)
%0 = input name=x : f32[b:2 n:n]
%1 = param name=w : f32[n:n c:3]
%2 = const values=<1*2 -0.5> : f32[c:3]
%3 = exp %0 : f32[b:2 n:n]
return y=%3
`;

export interface Finding {
  readonly kind: Kind;
  readonly index: number;
  readonly what: string;
}

/** What a file of some kilobytes may cost. Seconds are of the processor: on a busy machine every file may wait. */
const budget = { seconds: 5, grown: 256, child: 1024 + 256 } as const;
/** Read in a process of their own. */
const inProcess: ReadonlySet<Kind> = new Set(['tokenizer', 'pieces']);
/** What runs there is ended by a clock that has steps, and a process is started in its place. */
const ending = 0.5;

function overBudget(kind: Kind, { seconds, grown, child }: Cost): readonly string[] {
  const allowed = budget.seconds + (inProcess.has(kind) ? ending : 0);
  return [
    ...(seconds > allowed ? [`took ${seconds.toFixed(1)} s`] : []),
    ...(grown > budget.grown ? [`grew by ${grown.toFixed(0)} MiB`] : []),
    ...(child > budget.child ? [`made a process of ${child.toFixed(0)} MiB`] : []),
  ];
}

/** What is given mutated files: file `index` of a kind is the same for one seed, whatever came before it. */
export class Attack {
  readonly #folder = mkdtempSync(join(tmpdir(), 'opabinia-attack-'));
  readonly #seed: number;
  readonly #good: Readonly<Record<Kind, readonly Uint8Array[]>>;
  #costs: Cost | undefined;

  private constructor(seed: number, good: Readonly<Record<Kind, readonly Uint8Array[]>>) {
    this.#seed = seed;
    this.#good = good;
  }

  static async from(seed: number): Promise<Attack> {
    const pixels = { create: { width: 9, height: 7, channels: 3, background: 'red' } } as const;
    const golden = (name: string): Buffer => readFileSync(join(import.meta.dirname, '../golden', name));
    return new Attack(seed, {
      header: [rawFile(goodHeader, 16)],
      gguf: [ggufBytes(goodSettings, goodTensors)],
      pickle: ['state-dict.bin', 'wrapped.pt', 'before-1.6.bin'].map((name) => golden(`pytorch/${name}`)),
      config: Object.values(releasedCambrian).map((config) => Buffer.from(JSON.stringify(config))),
      tokenizer: [Buffer.from(JSON.stringify(makeTokenizer(300).json))],
      pieces: [golden('sentencepiece/bpe.model'), golden('sentencepiece/unigram.model')],
      graph: [Buffer.from(graph)],
      image: [
        await sharp(pixels).png().toBuffer(),
        await sharp(pixels).jpeg().toBuffer(),
        await sharp(pixels).webp().toBuffer(),
      ],
    });
  }

  /** The file itself. */
  file(kind: Kind, index: number): Uint8Array {
    const random = generator(
      Math.imul(this.#seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b) ^ kinds.indexOf(kind),
    );
    const all = this.#good[kind];
    return mutated(all[Math.floor(random() * all.length)] ?? new Uint8Array(), random);
  }

  /** The highest of each cost so far. */
  get costs(): Cost | undefined {
    return this.#costs;
  }

  /** Takes one file of this kind; gives what was wrong with how it was taken. */
  async one(kind: Kind, index: number): Promise<Finding | undefined> {
    const bytes = this.file(kind, index);
    let meter = new Meter(inProcess.has(kind));
    const wrong: string[] = [];
    const step = (): void => {
      const cost = meter.read();
      this.#costs = worse(this.#costs, cost);
      wrong.push(...overBudget(kind, cost));
      meter = new Meter(inProcess.has(kind));
    };
    try {
      await this.#take(kind, bytes, step);
    } catch (error) {
      if (!(error instanceof OpabiniaError))
        wrong.push(`untyped: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
    step();
    return wrong.length === 0 ? undefined : { kind, index, what: wrong.join('; ') };
  }

  /** `step`: told after each part that has a time of its own. */
  async #take(kind: Kind, bytes: Uint8Array, step: () => void): Promise<void> {
    const text = (): string => new TextDecoder().decode(bytes);
    const file = (name: string = kind): string => {
      const path = join(this.#folder, name);
      writeFileSync(path, bytes);
      return path;
    };
    switch (kind) {
      case 'header':
        openSafetensors(file()).close();
        break;
      case 'gguf': {
        const opened = await openGgufLanguage(file('model.gguf'));
        try {
          ggufTokenizer(opened.file);
          for (const name of opened.checkpoint.stored.keys()) opened.checkpoint.tensor(name);
        } finally {
          opened.checkpoint.close();
        }
        break;
      }
      case 'pickle': {
        const opened = openPytorchFile(file('weights.bin'));
        try {
          for (const tensor of opened.tensors.values()) opened.readInto(tensor.name, new Uint8Array(tensor.bytes));
        } finally {
          opened.close();
        }
        break;
      }
      case 'config': {
        let json: unknown;
        try {
          json = JSON.parse(text());
        } catch {
          return;
        }
        readConfig(json, 'config.json');
        break;
      }
      case 'tokenizer':
      case 'pieces': {
        const path = file(kind === 'pieces' ? 'tokenizer.model' : 'tokenizer.json');
        const tokenizer = await SandboxTokenizer.open({ path, configPath: undefined });
        step();
        const ids = await tokenizer.encode([{ kind: 'user', text: 'What is in this picture?' }]);
        step();
        await tokenizer.decode(ids);
        tokenizer.close();
        break;
      }
      case 'graph':
        parse(text());
        break;
      case 'image':
        await decodeImage(bytes);
        break;
      default:
        kind satisfies never;
    }
  }

  close(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
