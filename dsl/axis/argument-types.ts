// What an editor shows when the arguments of a function do not fit its tensors: axes that exist already, lists of tensors
// that differ, sizes that are missing or misspelt.
//
// Each check is a flag held against 'wrong', so that it passes where the axes are a type parameter: inside a module over any
// axes nothing is known yet, and the trace refuses what does not fit.
import type { AxisError, Distinct, First, Has, Wider, Without, Words } from './pattern-types.ts';

type Flag<Wrong> = [Wrong] extends [never] ? 'right' : 'wrong';

/** `unknown` when O is one name and not yet an axis of S, else the error. */
export type Lacks<S extends string, O extends string> = [Clash<S, O>] extends ['wrong']
  ? AxisError<`the tensor has another axis '${O & Words<S>}' already: give the result another name`>
  : One<O>;
type Clash<S extends string, O extends string> = [string] extends [S]
  ? 'right'
  : [string] extends [O]
    ? 'right'
    : Flag<O & Words<S>>;

/** `unknown` when O is the name of one axis, and not a list of names, else the error. */
export type One<O extends string> = [Spaced<O>] extends ['wrong']
  ? AxisError<`'${O}' is not one axis: a name is letters, digits and '_'`>
  : unknown;
type Spaced<O extends string> = [string] extends [O]
  ? 'right'
  : [Extract<O, `${string} ${string}` | ''>] extends [never]
    ? 'right'
    : 'wrong';

/** `unknown` when one of three lists (two, and `''`) has every name of all of them, else the error. */
export type Together<M extends string, S extends string, T extends string> = [
  Apart<Wider<Wider<M, S>, T>, M | S | T>,
] extends ['wrong']
  ? AxisError<`no operand has every axis of '${M}'${Listed<S>}${Listed<T>}: widen one with repeat`>
  : unknown;
type Apart<W extends string, All extends string> = [string] extends [W]
  ? 'right'
  : [string] extends [All]
    ? 'right'
    : Flag<Exclude<Words<All>, Words<W>>>;
type Listed<S extends string> = S extends '' ? '' : `, '${S}'`;

/** `unknown` when L, the axes of labels, are those of S without the axes A (a union of names), in any order, else the error. */
export type Labels<L extends string, S extends string, A extends string> = [Unlabelled<L, S, A>] extends ['wrong']
  ? AxisError<`the labels '${L}' must have the axes '${Without<S, A>}': one label a row`>
  : unknown;
type Unlabelled<L extends string, S extends string, A extends string> = [string] extends [L]
  ? 'right'
  : [string] extends [S]
    ? 'right'
    : [string] extends [A]
      ? 'right'
      : // An axis of classes that there is none of is an error of its own.
        [A & Words<S>] extends [never]
        ? 'right'
        : Flag<Exclude<Words<L>, Exclude<Words<S>, A>> | Exclude<Exclude<Words<S>, A>, Words<L>>>;

/** `unknown` when T, the axes of a head, has one axis of S and one other, else the error. */
export type Head<T extends string, S extends string> = [Headless<T, S>] extends ['wrong']
  ? AxisError<`the head '${T}' must share one axis with the hidden states '${S}', and have one of classes`>
  : unknown;
type Headless<T extends string, S extends string> = [string] extends [T]
  ? 'right'
  : [string] extends [S]
    ? 'right'
    : [Single<Words<T> & Words<S>>, Single<Exclude<Words<T>, Words<S>>>] extends ['right', 'right']
      ? 'right'
      : 'wrong';
type Single<W extends string> = [W] extends [never] ? 'wrong' : Flag<Others<W>>;

/** `unknown` when points over axes P may be read from a picture, else the error. */
export type Points<P extends string> = [Channelled<P>] extends ['wrong']
  ? AxisError<"the points have the axis 'c', which is that of the channels: give it another name">
  : unknown;
type Channelled<P extends string> = [string] extends [P] ? 'right' : Flag<'c' & Words<P>>;

/** `unknown` when updates over axes S may be added up at positions over axes I to a result over axes O, else the error. */
export type Scattered<S extends string, I extends string, O extends string> = [Misplaced<S, I, O>] extends ['wrong']
  ? Scattering<S, I, O>
  : unknown;
type Misplaced<S extends string, I extends string, O extends string> = [string] extends [S]
  ? 'right'
  : [string] extends [I]
    ? 'right'
    : [string] extends [O]
      ? 'right'
      : [unknown] extends [Scattering<S, I, O>]
        ? 'right'
        : 'wrong';
type Scattering<S extends string, I extends string, O extends string> = First<
  Distinct<O>,
  First<OneNew<Exclude<Words<O>, Words<S>>, O>, Kept<Exclude<Words<S>, Words<O> | Words<I>>>>
>;
type OneNew<New extends string, O extends string> = [Single<New>] extends ['wrong']
  ? AxisError<`'${O}' must have one axis that is not of the updates, along which the positions count`>
  : unknown;
type Kept<Lost extends string> = [Flag<Lost>] extends ['wrong']
  ? AxisError<`axis '${Lost}' is neither kept nor an axis of the positions: reduce it first`>
  : unknown;

/** `unknown` when each of the three lists has the axis A, else the error of the first that has not. */
export type EachHas<S extends string, K extends string, V extends string, A extends string> = First<
  Has<S, A>,
  First<Has<K, A>, Has<V, A>>
>;

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
