// The pattern grammar as template-literal types: what an editor shows before anything runs. `pattern.ts` is the same grammar at run time.
// Parsed token by token (never character by character) and tail-recursive, so that long patterns stay cheap.

/** What tsc prints when axes do not fit; no value has this type. */
export interface AxisError<Message extends string> {
  readonly 'axis error': Message;
}

/** The names in a list of axes: `'b n d'` gives `'b' | 'n' | 'd'`. */
export type Words<S extends string> = string extends S ? string : Collect<`${S} `>;
type Collect<S extends string, Out extends string = never> = S extends `${infer W} ${infer R}`
  ? Collect<R, W extends '' ? Out : Out | W>
  : Out;

/**
 * `unknown` when every name of A is an axis of S, else the error. Where S is a type parameter nothing is known yet, and the check
 * passes: TypeScript skips a branch that cannot be taken when every type parameter is `any`. (The brackets see to it that a condition on
 * such an `any` is decided, and not `any` itself.)
 */
export type Has<S extends string, A extends string> = [Missing<S, A>] extends ['wrong']
  ? AxisError<`'${S}' has no axis '${Exclude<Words<A>, Words<S>>}'`>
  : unknown;
type Missing<S extends string, A extends string> = [string] extends [S]
  ? 'right'
  : [string] extends [A]
    ? 'right'
    : [Exclude<Words<A>, Words<S>>] extends [never]
      ? 'right'
      : 'wrong';

/** `unknown` when the names in S differ, else the error. */
export type Distinct<S extends string> = string extends S ? unknown : Twice<`${S} `>;
type Twice<S extends string, Seen extends string = never> = S extends `${infer W} ${infer R}`
  ? W extends ''
    ? Twice<R, Seen>
    : W extends Seen
      ? AxisError<`axis '${W}' stands twice`>
      : W extends '...' | `${number}`
        ? AxisError<`'${W}' is not a name: an axis has one, of whatever size it is`>
        : Twice<R, Seen | W>
  : unknown;

/** The list S with axis A renamed to O. */
export type Renamed<S extends string, A extends string, O extends string> = string extends S
  ? string
  : Rename<`${S} `, A, O>;
type Rename<
  S extends string,
  A extends string,
  O extends string,
  Out extends string = '',
> = S extends `${infer W} ${infer R}` ? Rename<R, A, O, W extends '' ? Out : Append<Out, W extends A ? O : W>> : Out;

/** The list S without the axes A (a union of names). */
export type Without<S extends string, A extends string> = string extends S ? string : Drop<`${S} `, A>;
type Drop<S extends string, A extends string, Out extends string = ''> = S extends `${infer W} ${infer R}`
  ? Drop<R, A, W extends '' | A ? Out : Append<Out, W>>
  : Out;

/** The last name of the list S. */
export type Last<S extends string> = string extends S ? string : S extends `${string} ${infer R}` ? Last<R> : S;

/** The list S with A in the place of its last name. */
export type SetLast<S extends string, A extends string> = Renamed<S, Last<S>, A>;

export type Append<Out extends string, W extends string> = Out extends '' ? W : W extends '' ? Out : `${Out} ${W}`;

/** Axes of a gather: those of the positions, then those of S that are neither read nor shared. */
export type Gathered<S extends string, I extends string, A extends string> = Append<I, Without<S, A | Words<I>>>;

/** The axes of the first of two lists that has all names of both. */
export type Wider<S extends string, T extends string> = string extends S
  ? string
  : string extends T
    ? string
    : [Exclude<Words<T>, Words<S>>] extends [never]
      ? S
      : T;

// ---- one side of a pattern -----------------------------------------------------------------------------------------

/**
 * Walks the left side beside the tensor's axes. The result is the union of the elementary names, or an AxisError.
 * P and X end in a space, so that every token is followed by one.
 */
type Left<
  P extends string,
  X extends string,
  S extends string,
  Names extends string = never,
> = P extends `${infer W} ${infer R}`
  ? W extends ''
    ? Left<R, X, S, Names>
    : W extends `${infer N}(${string}`
      ? P extends `${N}(${infer G}) ${infer Rest}`
        ? InGroup<`${G} `, Names> extends infer U
          ? [U] extends [string]
            ? X extends `${infer B} ${infer Y}`
              ? N extends '' | `${B}=`
                ? Left<Rest, Y, S, U>
                : string extends S
                  ? Left<Rest, X, S, U>
                  : AxisError<`pattern has '${N}(${G})' where the tensor '${S}' has '${B}'`>
              : string extends S
                ? Left<Rest, X, S, U>
                : AxisError<`pattern has more axes than the tensor '${S}'`>
            : U
          : never
        : AxisError<`the group '${N}(' is not closed`>
      : W extends Names
        ? AxisError<`axis '${W}' stands twice`>
        : X extends `${infer B} ${infer Y}`
          ? W extends B
            ? Left<R, Y, S, Names | W>
            : Odd<W, `pattern has '${W}' where the tensor '${S}' has '${B}'`>
          : string extends S
            ? Left<R, X, S, Names | W>
            : Odd<W, `pattern has more axes than the tensor '${S}'`>
  : X extends ''
    ? Names
    : string extends S
      ? Names
      : AxisError<`pattern has fewer axes than the tensor '${S}'`>;

type InGroup<G extends string, Names extends string> = G extends `${infer W} ${infer R}`
  ? W extends ''
    ? InGroup<R, Names>
    : W extends `${string}(${string}` | `${string})${string}` | `${string}=${string}`
      ? AxisError<'a group stands in a group'>
      : W extends Names
        ? AxisError<`axis '${W}' stands twice`>
        : InGroup<R, Names | W>
  : Names;

/** Walks the right side. The result is the union of the elementary names, or an AxisError. */
type RightNames<
  P extends string,
  Names extends string = never,
  Labels extends string = never,
> = P extends `${infer W} ${infer R}`
  ? W extends ''
    ? RightNames<R, Names, Labels>
    : W extends `${infer N}(${string}`
      ? P extends `${N}(${infer G}) ${infer Rest}`
        ? N extends `${infer Name}=`
          ? Name extends Labels
            ? AxisError<`axis '${Name}' stands twice`>
            : InGroup<`${G} `, Names> extends infer U
              ? [U] extends [string]
                ? RightNames<Rest, U, Labels | Name>
                : U
              : never
          : AxisError<`name the merged axis: 'name=(${G})'`>
        : AxisError<`the group '${N}(' is not closed`>
      : W extends Names | Labels
        ? AxisError<`axis '${W}' stands twice`>
        : RightNames<R, Names | W, Labels | W>
  : Names;

/** The axes that a right side gives: `'b q=(h w) c'` gives `'b q c'`. */
type Labels<P extends string, Out extends string = ''> = P extends `${infer W} ${infer R}`
  ? W extends ''
    ? Labels<R, Out>
    : W extends `${infer N}=(${string}`
      ? P extends `${string}) ${infer Rest}`
        ? Labels<Rest, Append<Out, N>>
        : never
      : Labels<R, Append<Out, W>>
  : Out;

/** The axes that a pattern gives. */
export type Right<P extends string> = string extends P
  ? string
  : P extends `${string}->${infer R}`
    ? Labels<`${R} `>
    : string;

// ---- whole patterns ------------------------------------------------------------------------------------------------

type LeftOf<L extends string, S extends string> = Left<`${L} `, string extends S ? '' : S extends '' ? '' : `${S} `, S>;
type Dropped<L, R, Use extends string> = [Exclude<L, R>] extends [never]
  ? unknown
  : Odd<Exclude<L, R> & string, `axis '${Exclude<L, R> & string}' is dropped: use ${Use}`>;
type Unchanged<L extends string, R extends string> = [Exclude<R, L>] extends [never]
  ? Dropped<L, R, 'reduce'>
  : [Exclude<L, R>] extends [never]
    ? New<L, R, 'use repeat'>
    : Renaming<Exclude<R, L>, Exclude<L, R>>;
type New<L, R, Use extends string> = [Exclude<R, L>] extends [never]
  ? unknown
  : Odd<Exclude<R, L> & string, `axis '${Exclude<R, L> & string}' is new: ${Use}`>;

/** A name that only the right side has, and one that only the left has, where nothing may be new or dropped: a rename, most likely. */
type Renaming<New extends string, Lost extends string> = [IsSeveral<New> | IsSeveral<Lost>] extends [false]
  ? Odd<
      New,
      `axis '${New}' is new and '${Lost}' is dropped: write '${New}=(${Lost})' to rename it, or '${Lost}' in its place`
    >
  : Odd<New, `axis '${New}' is new, and others are dropped: write 'new=(old)' to rename one`>;
/** einops' words that are not names here, with what to write instead; else the message. */
type Odd<W extends string, Message extends string> = [W] extends ['...']
  ? AxisError<"there is no '...': write out the axes">
  : [W] extends [`${number}`]
    ? AxisError<`'${W}' is not a name: '()' on the left matches an axis of size 1, 'one=()' on the right makes one`>
    : AxisError<Message>;
/** The first error of two checks; `unknown` where both pass. */
export type First<A, B> = unknown extends A ? B : A;

/** The sizes that a pattern has no axis for. */
type Misspelt<Names, Given extends string> = string extends Given
  ? unknown
  : [Exclude<Given, Names>] extends [never]
    ? unknown
    : AxisError<`a size is given for '${Exclude<Given, Names>}', which the pattern does not have`>;

/** The first group of a left side with several axes that no size is given for. */
type Unsized<L extends string, Given extends string> = string extends Given
  ? unknown
  : L extends `${string}(${infer G})${infer Rest}`
    ? IsSeveral<Open<`${G} `, Given>> extends true
      ? AxisError<`in '(${G})' only one size may be left out: give the others, as in { ${FirstOpen<`${G} `, Given>}: 2 }`>
      : Unsized<Rest, Given>
    : unknown;
type Open<G extends string, Given extends string, Out extends string = never> = G extends `${infer W} ${infer R}`
  ? Open<R, Given, W extends '' | Given ? Out : Out | W>
  : Out;
type FirstOpen<G extends string, Given extends string> = G extends `${infer W} ${infer R}`
  ? W extends '' | Given
    ? FirstOpen<R, Given>
    : W
  : never;
type IsSeveral<U, All = U> = [U] extends [never]
  ? false
  : U extends unknown
    ? [All] extends [U]
      ? false
      : true
    : never;

/** The new axes of a pattern that no size is given for. */
type WithoutSize<New, Given extends string> = string extends Given
  ? unknown
  : [Exclude<New, Given>] extends [never]
    ? unknown
    : Odd<
        Exclude<New, Given> & string,
        `the new axis '${Exclude<New, Given> & string}' has no size: give it, as in { ${Exclude<New, Given> & string}: 2 }`
      >;

/** `unknown` when `rearrange` may take this pattern for axes S with sizes of the names G, else the error. */
export type Rearrange<P extends string, S extends string, G extends string = string> = string extends P
  ? unknown
  : P extends `${infer L}->${infer R}`
    ? LeftOf<L, S> extends infer A
      ? [A] extends [string]
        ? RightNames<`${R} `> extends infer B
          ? [B] extends [string]
            ? First<First<Unchanged<A, B>, Misspelt<B, G>>, Unsized<L, G>>
            : B
          : never
        : A
      : never
    : AxisError<"write 'axes -> axes'">;

/** As `Rearrange`, for `repeat`: the right side may have new names. */
export type Repeat<P extends string, S extends string, G extends string = string> = string extends P
  ? unknown
  : P extends `${infer L}->${infer R}`
    ? LeftOf<L, S> extends infer A
      ? [A] extends [string]
        ? RightNames<`${R} `> extends infer B
          ? [B] extends [string]
            ? First<First<First<Dropped<A, B, 'reduce'>, Misspelt<B, G>>, WithoutSize<Exclude<B, A>, G>>, Unsized<L, G>>
            : B
          : never
        : A
      : never
    : AxisError<"write 'axes -> axes'">;

/** As `Rearrange`, for `reduce`: names that the right side leaves out are reduced away. */
export type Reduce<P extends string, S extends string, G extends string = string> = string extends P
  ? unknown
  : P extends `${infer L}->${infer R}`
    ? LeftOf<L, S> extends infer A
      ? [A] extends [string]
        ? RightNames<`${R} `> extends infer B
          ? [B] extends [string]
            ? First<First<New<A, B, 'use repeat'>, Misspelt<A, G>>, Unsized<L, G>>
            : B
          : never
        : A
      : never
    : AxisError<"write 'axes -> axes'">;

/** `unknown` when `einsum` may take this pattern for operands of axes A and B, else the error. */
export type Einsum<P extends string, A extends string, B extends string> = string extends P
  ? unknown
  : P extends `${string}(${string}`
    ? AxisError<'einsum takes no groups: rearrange first'>
    : P extends `${infer L},${infer M}->${infer R}`
      ? LeftOf<L, A> extends infer X
        ? [X] extends [string]
          ? LeftOf<M, B> extends infer Y
            ? [Y] extends [string]
              ? RightNames<`${R} `> extends infer Z
                ? [Z] extends [string]
                  ? New<X | Y, Z, 'no operand has it'>
                  : Z
                : never
              : Y
            : never
          : X
        : never
      : AxisError<"write 'axes, axes -> axes'">;
