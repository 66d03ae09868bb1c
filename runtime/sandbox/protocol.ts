// What the process and its sandbox say to one another.
import { OpabiniaError } from '../../dsl/error.ts';
import type { TextPart } from '../text/tokenizer.ts';

export type Request =
  | {
      readonly kind: 'render';
      readonly template: string;
      readonly context: Readonly<Record<string, unknown>>;
      /** Characters of the result. */
      readonly limit: number;
    }
  | { readonly kind: 'open'; readonly key: number; readonly path: string; readonly configPath: string | undefined }
  | {
      readonly kind: 'encode';
      readonly key: number;
      readonly parts: readonly TextPart[];
      readonly automatic: boolean;
    }
  | { readonly kind: 'decode'; readonly key: number; readonly lists: readonly (readonly number[])[] }
  | { readonly kind: 'close'; readonly key: number };

/** What is known of a tokenizer outside of the sandbox. */
export interface TokenizerFacts {
  readonly size: number;
  readonly automaticStart: readonly number[];
  /** Control tokens, and tokens of the vocabulary that are spelled like one: `<s>`, `[CLS]`. */
  readonly names: ReadonlyMap<string, number>;
  readonly controls: readonly number[];
}

interface Values {
  readonly render: string;
  readonly open: TokenizerFacts;
  readonly encode: readonly number[];
  readonly decode: readonly string[];
  readonly close: null;
}

export type RequestOf<K extends Request['kind']> = Extract<Request, { readonly kind: K }>;
export type ValueOf<K extends Request['kind']> = Values[K];

export interface Refusal {
  readonly what: string;
  readonly op: string | undefined;
  readonly advice: string | undefined;
}

export type Reply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'value'; readonly value: ValueOf<Request['kind']> }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Whatever was thrown; errors that are not ours come from a library that was given a stranger's file. */
export function refusalOf(error: unknown, who: string, op: string): Refusal {
  if (error instanceof OpabiniaError) return { what: error.what, op: error.op, advice: error.advice };
  return {
    what: `${who} fails: ${error instanceof Error ? error.message.slice(0, 500) : String(error)}`,
    op,
    advice: undefined,
  };
}

export function errorOf({ what, op, advice }: Refusal): OpabiniaError {
  return new OpabiniaError(what, { op, advice });
}
