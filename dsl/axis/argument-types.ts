// What an editor shows when the arguments of a function do not fit its tensors: axes that exist already, lists of tensors
// that differ, sizes that are missing or misspelt.
//
// Each check is a flag held against 'wrong', so that it passes where the axes are a type parameter: inside a module over any
// axes nothing is known yet, and the trace refuses what does not fit.
import type { AxisError, Words } from './pattern-types.ts';

type Flag<Wrong> = [Wrong] extends [never] ? 'right' : 'wrong';

/** `unknown` when O is not yet an axis of S, else the error. */
export type Lacks<S extends string, O extends string> = [Clash<S, O>] extends ['wrong']
  ? AxisError<`the tensor has another axis '${O & Words<S>}' already: give the result another name`>
  : unknown;
type Clash<S extends string, O extends string> = [string] extends [S]
  ? 'right'
  : [string] extends [O]
    ? 'right'
    : Flag<O & Words<S>>;

/** `unknown` when S is one list of axes, and not several: the tensors of a list then agree. */
export type Equal<S extends string> = [Several<S>] extends ['wrong']
  ? AxisError<
      [Odd<S>] extends [never]
        ? `the tensors have the same axes in different orders: rearrange one of them`
        : `axis '${Odd<S>}' is not in every tensor: the axes must agree in names and order`
    >
  : unknown;
type Several<S extends string> = [string] extends [S] ? 'right' : Flag<Others<S>>;
/** For each of several lists the others; never for one alone. */
type Others<S extends string, All = S> = S extends unknown ? Exclude<All, S> : never;
/** Names that some of several lists have, and others have not. */
type Odd<S extends string, All extends string = S> = S extends unknown ? Exclude<Words<All>, Words<S>> : never;

/** The keys that some member of a union of records has. */
export type Keys<Z> = Z extends unknown ? keyof Z & string : never;

/** `unknown` when sizes are given for axes of S only, else the error. */
export type Known<S extends string, Given extends string> = [Stray<S, Given>] extends ['wrong']
  ? AxisError<`a size is given for '${Exclude<Given, Words<S>>}', and the axes are '${S}'`>
  : unknown;
type Stray<S extends string, Given extends string> = [string] extends [S]
  ? 'right'
  : [string] extends [Given]
    ? 'right'
    : Flag<Exclude<Given, Words<S>>>;

/** `unknown` when a size is given for each axis of S and no other, else the error. */
export type Sized<S extends string, Given extends string> = [Unsized<S, Given>] extends ['wrong']
  ? AxisError<`axis '${Exclude<Words<S>, Given>}' of '${S}' has no size: give it, as in { ${Exclude<Words<S>, Given>}: 2 }`>
  : Known<S, Given>;
type Unsized<S extends string, Given extends string> = [string] extends [S]
  ? 'right'
  : [string] extends [Given]
    ? 'right'
    : Flag<Exclude<Words<S>, Given>>;
