// What the race and its child processes say to one another, and what a child can do.
import type { Scale } from '../case.ts';

export const peerNames = ['ours', 'ort-webgpu', 'ort-cpu', 'jax-js', 'tfjs', 'pytorch'] as const;
export type PeerName = (typeof peerNames)[number];

/** An input or an output of a case, as a peer that knows no graphs needs it. */
export interface Port {
  readonly name: string;
  readonly dtype: string;
  readonly sizes: readonly number[];
  /** Of a state, its name: what learns begins with the source's values, everything else with zeros. */
  readonly state: string | undefined;
}

export interface Model {
  readonly path: string;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** A case made ready for a peer. */
export interface Job {
  readonly name: string;
  readonly scale: Scale;
  /** The exported model, for peers that run one. */
  readonly model?: Model | undefined;
}

export interface PeerFacts {
  readonly version: string;
  /** Of the device it runs on; absent where it does not tell. */
  readonly adapter?: string;
  readonly driver?: string;
  readonly software?: boolean;
}

export interface Prepared {
  /** Milliseconds of the first run of all, where loading took it already. */
  readonly first?: number | undefined;
  readonly dispatches?: number | undefined;
  readonly deviceBytes?: number | undefined;
  readonly notes: readonly string[];
}

/** One library. Every method may throw; the message goes into the table. */
export interface Peer {
  open(): Promise<PeerFacts>;
  /** Loads a case, inputs on the device. */
  prepare(job: Job): Promise<Prepared>;
  /** One run to its end, outputs left on the device. */
  run(): Promise<void>;
  /** Outputs of a run, by name, row-major. */
  outputs(): Promise<Readonly<Record<string, Float32Array>>>;
  /** Lets the case go. */
  drop(): Promise<void>;
  /** Speeds of the device itself; only ours measures them. */
  roofline?(quick: boolean): Promise<{ readonly flopsPerSecond: number; readonly bytesPerSecond: number }>;
  generate?(answers: number, tokens: number): Promise<Generated>;
}

export type Command =
  | { readonly kind: 'open' }
  | { readonly kind: 'prepare'; readonly job: Job }
  | { readonly kind: 'outputs' }
  | { readonly kind: 'time'; readonly runs: number }
  /** Starts the count of the process's largest size anew. */
  | { readonly kind: 'settle' }
  | { readonly kind: 'peak' }
  | { readonly kind: 'drop' }
  | { readonly kind: 'roofline'; readonly quick: boolean }
  | { readonly kind: 'generate'; readonly answers: number; readonly tokens: number }
  | { readonly kind: 'judge'; readonly job: Job }
  | { readonly kind: 'export'; readonly job: Job; readonly path: string; readonly plain: boolean };

export type Request = Command & { readonly id: number };
export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly message: string };

/** Several answers to one question. Milliseconds, but for tokens per second after the first token. */
export interface Generated {
  readonly cold: number;
  readonly tokens: number;
  readonly deviceBytes: number;
  readonly whole: readonly number[];
  readonly toFirst: readonly number[];
  readonly perSecond: readonly number[];
}

/** What the judge says of a case: the truth, in f64, of the leading corner of each output. */
export interface Judgement {
  readonly flops: number;
  readonly bytes: number;
  readonly dtype: 'f32' | 'f16';
  readonly outputs: readonly {
    readonly name: string;
    readonly sizes: readonly number[];
    readonly part: readonly number[];
    readonly values: Float64Array;
  }[];
}
