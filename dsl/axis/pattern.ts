// The pattern grammar at run time: `b (h w) c -> b q=(h w) c`, `b n i, o i -> b n o`. `pattern-types.ts` is the same grammar in types.
import {
  createToken,
  EmbeddedActionsParser,
  EOF,
  Lexer,
  tokenMatcher,
  type ILexingError,
  type IRecognitionException,
  type IToken,
} from 'chevrotain';
import { OpabiniaError } from '../error.ts';
import { here } from '../origin.ts';

/** One axis in a pattern: `h`, `(h w)` on the left, or `q=(h w)`. */
export interface Item {
  /** The axis; undefined for a group without a name. */
  readonly name: string | undefined;
  /** Elementary axes, outermost first; a plain axis is its own only part. */
  readonly parts: readonly string[];
  /** True when parentheses were written. */
  readonly group: boolean;
  /** Offset in the text. */
  readonly offset: number;
  readonly length: number;
}

export interface Pattern {
  readonly text: string;
  readonly inputs: readonly (readonly Item[])[];
  readonly output: readonly Item[];
}

const Arrow = createToken({ name: 'Arrow', pattern: /->/ });
const Comma = createToken({ name: 'Comma', pattern: /,/ });
const NamedOpen = createToken({ name: 'NamedOpen', pattern: /[A-Za-z][A-Za-z0-9_]*=\(/ });
const Open = createToken({ name: 'Open', pattern: /\(/ });
const Close = createToken({ name: 'Close', pattern: /\)/ });
const Name = createToken({ name: 'Name', pattern: /[A-Za-z][A-Za-z0-9_]*/ });
const Space = createToken({ name: 'Space', pattern: / +/, group: Lexer.SKIPPED });
const tokenTypes = [Arrow, Comma, NamedOpen, Open, Close, Name, Space];

class PatternParser extends EmbeddedActionsParser {
  constructor() {
    super(tokenTypes, { recoveryEnabled: false });
    this.performSelfAnalysis();
  }

  // pattern := side (',' side)* '->' side
  readonly pattern = this.RULE('pattern', () => {
    const inputs: (readonly Item[])[] = [];
    this.AT_LEAST_ONE_SEP({
      SEP: Comma,
      DEF: () => {
        inputs.push(this.SUBRULE(this.side));
      },
    });
    this.CONSUME(Arrow);
    return { inputs, output: this.SUBRULE2(this.side) };
  });

  // side := item*
  readonly side = this.RULE('side', (): readonly Item[] => {
    const items: Item[] = [];
    this.MANY(() => {
      items.push(this.SUBRULE(this.item));
    });
    return items;
  });

  // item := name | '(' name* ')' | name '=(' name* ')'
  readonly item = this.RULE('item', (): Item =>
    this.OR([
      {
        ALT: () => {
          const t = this.CONSUME(Name);
          return { name: t.image, parts: [t.image], group: false, offset: t.startOffset, length: t.image.length };
        },
      },
      { ALT: () => this.#group(this.CONSUME(Open), this.SUBRULE(this.names)) },
      { ALT: () => this.#group(this.CONSUME(NamedOpen), this.SUBRULE2(this.names)) },
    ]),
  );

  readonly names = this.RULE('names', (): { readonly parts: readonly string[]; readonly end: number } => {
    const parts: string[] = [];
    this.MANY(() => {
      parts.push(this.CONSUME(Name).image);
    });
    return { parts, end: this.CONSUME(Close).startOffset + 1 };
  });

  #group(open: IToken, names: { readonly parts: readonly string[]; readonly end: number } | undefined): Item {
    // While chevrotain records the grammar, subrules give nothing.
    const { parts, end } = names ?? { parts: [], end: 0 };
    const name = open.image === '(' ? undefined : open.image.slice(0, -2);
    return { name, parts, group: true, offset: open.startOffset, length: end - open.startOffset };
  }
}

let built: { readonly lexer: Lexer; readonly parser: PatternParser } | undefined;
const cache = new Map<string, Pattern>();

/**
 * The pattern of this text. Throws `OpabiniaError` that points at the place in the text.
 * `op` is the function that was called and `axes` are those of its tensors, for the message.
 */
export function parsePattern(text: string, op: string, axes: readonly string[] = []): Pattern {
  if (typeof text !== 'string')
    throw new OpabiniaError(`the pattern is ${String(text)}`, {
      op,
      place: here().place,
      advice: `a pattern is text: '${axes.map((of) => of.replaceAll(/[[\]]|:\S+/g, '')).join(', ')} -> …'`,
    });
  const known = cache.get(text);
  if (known !== undefined) return known;
  // Building the grammar takes some 10 ms, so only a program that uses a pattern pays for it.
  built ??= { lexer: new Lexer(tokenTypes, { positionTracking: 'onlyOffset' }), parser: new PatternParser() };
  const { tokens, errors } = built.lexer.tokenize(text);
  const lexical = errors[0];
  if (lexical !== undefined) throw lexicalError(text, op, lexical, axes);
  checkSpaces(text, op, tokens);
  built.parser.input = tokens;
  const sides = built.parser.pattern();
  const wrong = built.parser.errors[0];
  if (wrong !== undefined) throw grammarError(text, op, wrong, tokens);
  const pattern: Pattern = { text, inputs: sides.inputs, output: sides.output };
  checkNames(pattern, op);
  cache.set(text, pattern);
  return pattern;
}

/** A refusal that shows the pattern with a caret under the part in question. */
export function patternError(
  op: string,
  text: string,
  offset: number,
  length: number,
  what: string,
  advice?: string,
): OpabiniaError {
  const caret = `${' '.repeat(offset)}${'^'.repeat(Math.max(1, length))}`;
  const origin = here();
  return new OpabiniaError(`${what}\n  ${text}\n  ${caret}`, { op, advice, path: origin.path, place: origin.place });
}

function lexicalError(text: string, op: string, error: ILexingError, axes: readonly string[]): OpabiniaError {
  const character = text[error.offset] ?? '';
  if (text.startsWith('...', error.offset))
    return patternError(
      op,
      text,
      error.offset,
      3,
      `'...' stands for axes, and a pattern here names them all\n  operand ${axes.join(', ')}`,
      `write them out: ${axes.map((list) => `'${list.replaceAll(/[[\]]|:\S*/g, '')}'`).join(', ')}`,
    );
  const advice = /[0-9]/.test(character)
    ? text.slice(0, error.offset).includes('->')
      ? `an axis of size 1 needs a name: 'one=()'`
      : "'()' matches an axis of size 1; every other axis has a name of letters"
    : character === '='
      ? "a merged axis is written without spaces: 'q=(h w)'"
      : /[-–—>→]/.test(character)
        ? "the arrow is written '->'"
        : "axes are letters, digits and '_', grouped by '(' and ')'";
  return patternError(op, text, error.offset, error.length, `'${character}' does not belong in a pattern`, advice);
}

function checkSpaces(text: string, op: string, tokens: readonly IToken[]): void {
  tokens.forEach((token, i) => {
    const before = tokens[i - 1];
    if (before === undefined || before.startOffset + before.image.length !== token.startOffset) return;
    const ends = tokenMatcher(before, Name) || tokenMatcher(before, Close);
    const starts = tokenMatcher(token, Name) || tokenMatcher(token, Open) || tokenMatcher(token, NamedOpen);
    if (!ends || !starts) return;
    const advice =
      tokenMatcher(token, Open) && tokenMatcher(before, Name)
        ? `'${before.image}=(…)' names a merged axis; '${before.image} (…)' is two axes`
        : undefined;
    throw patternError(
      op,
      text,
      before.startOffset,
      before.image.length + token.image.length,
      'a space is missing between two axes',
      advice,
    );
  });
}

function grammarError(
  text: string,
  op: string,
  error: IRecognitionException,
  tokens: readonly IToken[],
): OpabiniaError {
  const ended = tokenMatcher(error.token, EOF);
  const at = ended ? text.length : error.token.startOffset;
  const length = ended ? 1 : error.token.image.length;
  const open = openGroup(tokens, at);
  if (open !== undefined) {
    if (error.token.image === '(' || error.token.image.endsWith('=('))
      return patternError(op, text, at, length, 'a group stands in a group', 'rearrange in two steps');
    return patternError(
      op,
      text,
      open.startOffset,
      open.image.length,
      'this group is not closed',
      "write ')' after its last axis",
    );
  }
  if (error.token.image === ')') return patternError(op, text, at, length, "this ')' closes nothing");
  if (!tokens.some((t) => tokenMatcher(t, Arrow)))
    return patternError(
      op,
      text,
      at,
      length,
      "an arrow is missing: write 'axes -> axes'",
      `'${text} -> …' with the axes of the result`,
    );
  if (error.token.image === '->') return patternError(op, text, at, length, 'one arrow is enough');
  if (error.token.image === ',')
    return patternError(op, text, at, length, 'there is one result: no comma after the arrow');
  return patternError(op, text, at, length, `'${error.token.image}' does not belong here`);
}

/** The group that is still open at `end`. */
function openGroup(tokens: readonly IToken[], end: number): IToken | undefined {
  let open: IToken | undefined;
  for (const token of tokens) {
    if (token.startOffset >= end) break;
    if (tokenMatcher(token, Open) || tokenMatcher(token, NamedOpen)) open = token;
    if (tokenMatcher(token, Close)) open = undefined;
  }
  return open;
}

function checkNames(pattern: Pattern, op: string): void {
  for (const side of pattern.inputs) checkTwice(pattern, op, side, (item) => item.parts);
  checkTwice(pattern, op, pattern.output, (item) => item.parts);
  checkTwice(pattern, op, pattern.output, (item) => (item.name === undefined ? [] : [item.name]));
  const nameless = pattern.output.find((item) => item.name === undefined);
  if (nameless !== undefined) {
    throw patternError(
      op,
      pattern.text,
      nameless.offset,
      nameless.length,
      'a merged axis needs a name',
      `'name=(${nameless.parts.join(' ')})'`,
    );
  }
}

function checkTwice(
  pattern: Pattern,
  op: string,
  side: readonly Item[],
  names: (item: Item) => readonly string[],
): void {
  const seen = new Set<string>();
  for (const item of side) {
    for (const name of names(item)) {
      if (seen.has(name))
        throw patternError(
          op,
          pattern.text,
          item.offset,
          item.length,
          `axis '${name}' stands twice`,
          'give each axis its own name',
        );
      seen.add(name);
    }
  }
}
