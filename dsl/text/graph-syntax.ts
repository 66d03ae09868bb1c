// What the text of a graph says, as it was read: tokens with their positions, no ops yet.
import type { IToken } from 'chevrotain';

/** A number times a product of symbols, which may be empty. */
export interface TermSyntax {
  readonly symbols: readonly IToken[];
  readonly times: number;
}

export interface SizeSyntax {
  readonly constant: number;
  readonly terms: readonly TermSyntax[];
}

export type ValueSyntax =
  | { readonly kind: 'plain'; readonly value: number | boolean | string }
  | { readonly kind: 'size'; readonly size: SizeSyntax }
  | {
      readonly kind: 'constants';
      readonly open: IToken;
      readonly runs: readonly { readonly value: number; readonly times: number }[];
    }
  | { readonly kind: 'list'; readonly items: readonly ValueSyntax[] }
  /** `n:577` or `q:[h w]` */
  | {
      readonly kind: 'pair';
      readonly name: string;
      readonly size: SizeSyntax | undefined;
      readonly parts: ValueSyntax | undefined;
    }
  | { readonly kind: 'record'; readonly fields: readonly FieldSyntax[] };

export interface FieldSyntax {
  readonly key: IToken;
  readonly value: ValueSyntax;
}

export interface AxisSyntax {
  readonly name: IToken;
  readonly size: SizeSyntax;
}

export interface NodeSyntax {
  readonly result: IToken;
  readonly op: IToken;
  readonly operands: readonly IToken[];
  readonly attrs: readonly FieldSyntax[];
  readonly dtype: IToken;
  readonly axes: readonly AxisSyntax[];
  readonly path: IToken | undefined;
}

export interface GraphSyntax {
  readonly symbols: readonly { readonly name: IToken; readonly least: number; readonly bound: number }[];
  readonly nodes: readonly NodeSyntax[];
  readonly outputs: readonly { readonly name: IToken; readonly value: IToken }[];
  readonly updates: readonly { readonly state: IToken; readonly value: IToken; readonly at: readonly AxisSyntax[] }[];
}

/** The name a word or quoted token stands for. */
export function nameIn(token: IToken): string {
  return token.image.startsWith('"') ? String(JSON.parse(token.image)) : token.image;
}
