// Mutations of good files, and what a reader may do with them: read them, or refuse them by a typed error, soon and in little memory.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { OpabiniaError } from '../../dsl/error.ts';
import { parse } from '../../dsl/text/parse.ts';
import { makeTokenizer } from '../../examples/made/vocabulary.ts';
import { readConfig } from '../../models/configs/read.ts';
import { releasedCambrian } from '../../models/configs/released.ts';
import { openSafetensors } from '../../runtime/checkpoint/safetensors.ts';
import { decodeImage } from '../../runtime/image/image.ts';
import { SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';
import { goodHeader, rawFile } from '../runtime/malformed-headers.ts';

export const kinds = ['header', 'config', 'tokenizer', 'graph', 'image'] as const;
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

/** What is given mutated files. */
export class Attack {
  readonly #folder = mkdtempSync(join(tmpdir(), 'opabinia-attack-'));
  readonly #random: () => number;
  readonly #good: Readonly<Record<Kind, readonly Uint8Array[]>>;
  #count = 0;

  private constructor(seed: number, good: Readonly<Record<Kind, readonly Uint8Array[]>>) {
    this.#random = generator(seed);
    this.#good = good;
  }

  static async from(seed: number): Promise<Attack> {
    const pixels = { create: { width: 9, height: 7, channels: 3, background: 'red' } } as const;
    return new Attack(seed, {
      header: [rawFile(goodHeader, 16)],
      config: Object.values(releasedCambrian).map((config) => Buffer.from(JSON.stringify(config))),
      tokenizer: [Buffer.from(JSON.stringify(makeTokenizer(300).json))],
      graph: [Buffer.from(graph)],
      image: [
        await sharp(pixels).png().toBuffer(),
        await sharp(pixels).jpeg().toBuffer(),
        await sharp(pixels).webp().toBuffer(),
      ],
    });
  }

  /** One file of this kind; what was wrong with how it was taken. */
  async one(kind: Kind): Promise<Finding | undefined> {
    const all = this.#good[kind];
    const bytes = mutated(all[Math.floor(this.#random() * all.length)] ?? new Uint8Array(), this.#random);
    const index = this.#count++;
    const began = performance.now();
    const before = process.memoryUsage.rss();
    try {
      await this.#take(kind, bytes);
    } catch (error) {
      if (!(error instanceof OpabiniaError))
        return {
          kind,
          index,
          what: `untyped: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
        };
    }
    const [seconds, grown] = [(performance.now() - began) / 1000, (process.memoryUsage.rss() - before) / 2 ** 20];
    if (seconds > 5 && kind !== 'tokenizer') return { kind, index, what: `took ${seconds.toFixed(1)} s` };
    return grown > 1024 ? { kind, index, what: `grew by ${grown.toFixed(0)} MiB` } : undefined;
  }

  async #take(kind: Kind, bytes: Uint8Array): Promise<void> {
    const text = (): string => new TextDecoder().decode(bytes);
    const file = (): string => {
      const path = join(this.#folder, kind);
      writeFileSync(path, bytes);
      return path;
    };
    switch (kind) {
      case 'header':
        openSafetensors(file()).close();
        break;
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
      case 'tokenizer': {
        const tokenizer = await SandboxTokenizer.open({ path: file(), configPath: undefined });
        await tokenizer.decode(await tokenizer.encode([{ kind: 'user', text: 'What is in this picture?' }]));
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
