// The grammar of a graph's text form, in chevrotain: text to a syntax tree with positions. It knows nothing of ops.
import {
  EmbeddedActionsParser,
  Lexer,
  type IParserErrorMessageProvider,
  type IToken,
  type TokenType,
} from 'chevrotain';
import {
  Word,
  Graph,
  Return,
  Update,
  At,
  True,
  False,
  NaNWord,
  InfinityWord,
  Text,
  Reference,
  Times,
  Digits,
  AtMost,
  Less,
  Greater,
  OpenList,
  CloseList,
  OpenRecord,
  CloseRecord,
  Open,
  Close,
  Is,
  Colon,
  Comma,
  Semicolon,
  Plus,
  Minus,
  Star,
  tokens,
} from './tokens.ts';
import {
  nameIn,
  type AxisSyntax,
  type FieldSyntax,
  type GraphSyntax,
  type NodeSyntax,
  type SizeSyntax,
  type TermSyntax,
  type ValueSyntax,
} from './graph-syntax.ts';

// ---- grammar ----------------------------------------------------------------------------------------------------

const label = (type: TokenType): string => type.LABEL ?? type.name;
const found = (token: IToken | undefined): string =>
  token === undefined || token.image === '' ? 'the end of the text' : `'${token.image}'`;

const messages: IParserErrorMessageProvider = {
  buildMismatchTokenMessage: ({ expected, actual }) => `expected ${label(expected)}, found ${found(actual)}`,
  buildNotAllInputParsedMessage: ({ firstRedundant }) => `expected the end of the text, found ${found(firstRedundant)}`,
  buildNoViableAltMessage: ({ expectedPathsPerAlt, actual }) =>
    `expected ${[...new Set(expectedPathsPerAlt.flat().flatMap((path) => (path[0] === undefined ? [] : [label(path[0])])))].join(' or ')}, found ${found(actual[0])}`,
  buildEarlyExitMessage: ({ expectedIterationPaths, actual }) =>
    `expected ${expectedIterationPaths.flatMap((path) => (path[0] === undefined ? [] : [label(path[0])])).join(' or ')}, found ${found(actual[0])}`,
};

class GraphParser extends EmbeddedActionsParser {
  constructor() {
    super(tokens, { errorMessageProvider: messages });
    this.performSelfAnalysis();
  }

  // graph := 'graph' ('(' symbol (',' symbol)* ')')? node* 'return' (name '=' value)* update*
  readonly graph = this.RULE('graph', (): GraphSyntax => {
    const symbols: { name: IToken; least: number; bound: number }[] = [];
    const nodes: NodeSyntax[] = [];
    const outputs: { name: IToken; value: IToken }[] = [];
    const updates: { state: IToken; value: IToken; at: readonly AxisSyntax[] }[] = [];
    this.CONSUME(Graph);
    this.OPTION(() => {
      this.CONSUME(Open);
      this.AT_LEAST_ONE_SEP({ SEP: Comma, DEF: () => symbols.push(this.SUBRULE(this.symbol)) });
      this.CONSUME(Close);
    });
    this.MANY(() => nodes.push(this.SUBRULE(this.node)));
    this.CONSUME(Return);
    this.MANY2(() => {
      const name = this.SUBRULE(this.name);
      this.CONSUME(Is);
      outputs.push({ name, value: this.CONSUME(Reference) });
    });
    this.MANY3(() => {
      this.CONSUME(Update);
      const state = this.CONSUME2(Reference);
      this.CONSUME2(Is);
      const value = this.CONSUME3(Reference);
      const at = this.OPTION2(() => {
        this.CONSUME(At);
        return this.SUBRULE(this.axes);
      });
      updates.push({ state, value, at: at ?? [] });
    });
    return { symbols, nodes, outputs, updates };
  });

  // symbol := (whole '<=')? name '<=' whole
  private readonly symbol = this.RULE('symbol', () => {
    const least = this.OPTION(() => {
      const value = this.SUBRULE(this.signed);
      this.CONSUME(AtMost);
      return value;
    });
    const name = this.SUBRULE(this.name);
    this.CONSUME2(AtMost);
    return { name, least: least ?? 0, bound: this.SUBRULE2(this.signed) };
  });

  // node := value '=' op value* (name '=' attribute)* ':' dtype axes (';' path)?
  private readonly node = this.RULE('node', (): NodeSyntax => {
    const operands: IToken[] = [];
    const result = this.CONSUME(Reference);
    this.CONSUME(Is);
    const op = this.CONSUME(Word);
    this.MANY(() => operands.push(this.CONSUME2(Reference)));
    const attrs = this.SUBRULE(this.fields);
    this.CONSUME(Colon);
    const dtype = this.CONSUME2(Word);
    const axes = this.SUBRULE(this.axes);
    const path = this.OPTION(() => {
      this.CONSUME(Semicolon);
      return this.SUBRULE(this.name);
    });
    return { result, op, operands, attrs, dtype, axes, path };
  });

  private readonly fields = this.RULE('fields', (): FieldSyntax[] => {
    const fields: FieldSyntax[] = [];
    this.MANY(() => {
      const key = this.SUBRULE(this.name);
      this.CONSUME(Is);
      fields.push({ key, value: this.SUBRULE(this.value) });
    });
    return fields;
  });

  // axes := '[' (name ':' size)* ']'
  private readonly axes = this.RULE('axes', (): AxisSyntax[] => {
    const axes: AxisSyntax[] = [];
    this.CONSUME(OpenList);
    this.MANY(() => {
      const name = this.SUBRULE(this.name);
      this.CONSUME(Colon);
      axes.push({ name, size: this.SUBRULE(this.size) });
    });
    this.CONSUME(CloseList);
    return axes;
  });

  private readonly value: (idx?: number) => ValueSyntax = this.RULE('value', (): ValueSyntax =>
    this.OR([
      { ALT: () => ({ kind: 'plain' as const, value: this.SUBRULE(this.signed) }) },
      {
        ALT: () => {
          const token = this.SUBRULE(this.name);
          return { kind: 'plain' as const, value: this.ACTION(() => nameIn(token)) };
        },
      },
      {
        ALT: () => {
          this.CONSUME(True);
          return { kind: 'plain' as const, value: true };
        },
      },
      {
        ALT: () => {
          this.CONSUME(False);
          return { kind: 'plain' as const, value: false };
        },
      },
      {
        ALT: () => {
          this.CONSUME(Open);
          const size = this.SUBRULE(this.size);
          this.CONSUME(Close);
          return { kind: 'size' as const, size };
        },
      },
      { ALT: () => this.SUBRULE(this.constants) },
      { ALT: () => this.SUBRULE(this.list) },
      {
        ALT: () => {
          this.CONSUME(OpenRecord);
          const fields = this.SUBRULE(this.fields);
          this.CONSUME(CloseRecord);
          return { kind: 'record' as const, fields };
        },
      },
    ]),
  );

  // constants := '<' (number ('*' whole)?)* '>'
  private readonly constants = this.RULE('constants', (): ValueSyntax => {
    const runs: { value: number; times: number }[] = [];
    const open = this.CONSUME(Less);
    this.MANY(() => {
      const value = this.SUBRULE(this.signed);
      const times = this.OPTION(() => {
        this.CONSUME(Star);
        return Number(this.CONSUME(Digits).image);
      });
      runs.push({ value, times: times ?? 1 });
    });
    this.CONSUME(Greater);
    return { kind: 'constants', open, runs };
  });

  // list := '[' (name ':' size | name ':' list | value)* ']'
  private readonly list = this.RULE('list', (): ValueSyntax => {
    const items: ValueSyntax[] = [];
    this.CONSUME(OpenList);
    this.MANY(() =>
      items.push(
        this.OR([
          { GATE: () => this.LA(2).tokenType === Colon, ALT: () => this.SUBRULE(this.pair) },
          { ALT: () => this.SUBRULE(this.value) },
        ]),
      ),
    );
    this.CONSUME(CloseList);
    return { kind: 'list', items };
  });

  private readonly pair = this.RULE('pair', (): ValueSyntax => {
    const name = this.SUBRULE(this.name);
    this.CONSUME(Colon);
    const rest = this.OR([
      { ALT: () => ({ size: undefined, parts: this.SUBRULE(this.list) as ValueSyntax | undefined }) },
      { ALT: () => ({ size: this.SUBRULE(this.size) as SizeSyntax | undefined, parts: undefined }) },
    ]);
    return { kind: 'pair', name: this.ACTION(() => nameIn(name)), ...rest };
  });

  // size := '-'? term (('+' | '-') term)*      term := whole | times? symbol ('*' symbol)*
  private readonly size = this.RULE('size', (): SizeSyntax => {
    const terms: TermSyntax[] = [];
    let constant = 0;
    const take = (sign: number, { symbols, times }: TermSyntax): void => {
      // While chevrotain records the grammar, subrules give nothing.
      this.ACTION(() => {
        if (symbols.length === 0) constant += sign * times;
        else terms.push({ symbols, times: sign * times });
      });
    };
    const sign = this.OPTION(() => {
      this.CONSUME(Minus);
      return -1;
    });
    take(sign ?? 1, this.SUBRULE(this.term));
    this.MANY(() => {
      const next = this.OR([
        {
          ALT: () => {
            this.CONSUME(Plus);
            return 1;
          },
        },
        {
          ALT: () => {
            this.CONSUME2(Minus);
            return -1;
          },
        },
      ]);
      take(next, this.SUBRULE2(this.term));
    });
    return { constant, terms };
  });

  private readonly term = this.RULE('term', (): TermSyntax =>
    this.OR([
      { ALT: () => ({ symbols: [] as readonly IToken[], times: Number(this.CONSUME(Digits).image) }) },
      {
        ALT: () => {
          const times = Number(this.CONSUME(Times).image);
          return { symbols: this.SUBRULE(this.factors), times };
        },
      },
      { ALT: () => ({ symbols: this.SUBRULE2(this.factors), times: 1 }) },
    ]),
  );

  private readonly factors = this.RULE('factors', (): readonly IToken[] => {
    const symbols: IToken[] = [];
    this.AT_LEAST_ONE_SEP({
      SEP: Star,
      DEF: () => {
        symbols.push(this.SUBRULE(this.name));
      },
    });
    return symbols;
  });

  private readonly signed = this.RULE('signed', (): number => {
    const sign =
      this.OPTION(() => {
        this.CONSUME(Minus);
        return -1;
      }) ?? 1;
    const size = this.OR([
      { ALT: () => Number(this.CONSUME(Digits).image) },
      {
        ALT: () => {
          this.CONSUME(InfinityWord);
          return Infinity;
        },
      },
      {
        ALT: () => {
          this.CONSUME(NaNWord);
          return NaN;
        },
      },
    ]);
    return sign * size;
  });

  private readonly name = this.RULE('name', (): IToken =>
    this.OR([{ ALT: () => this.CONSUME(Word) }, { ALT: () => this.CONSUME(Text) }]),
  );
}

let shared: { readonly lexer: Lexer; readonly parser: GraphParser } | undefined;

/** What is wrong with a text, and where (from 1). */
export interface Mistake {
  readonly what: string;
  readonly line: number;
  readonly column: number;
}

// The parser recurses: a text of brackets alone must not exhaust its stack.
const deepest = 64;

function tooDeep(read: readonly IToken[]): IToken | undefined {
  let depth = 0;
  for (const token of read) {
    if (token.tokenType === OpenList || token.tokenType === OpenRecord) depth++;
    else if (token.tokenType === CloseList || token.tokenType === CloseRecord) depth--;
    if (depth > deepest) return token;
  }
  return undefined;
}

/** The syntax tree, or the first mistake. */
export function readGraphSyntax(text: string): GraphSyntax | Mistake {
  shared ??= { lexer: new Lexer(tokens, { positionTracking: 'full' }), parser: new GraphParser() };
  const { tokens: read, errors } = shared.lexer.tokenize(text);
  const deep = tooDeep(read);
  if (deep !== undefined)
    return {
      what: `expected at most ${deepest} levels of brackets`,
      line: deep.startLine ?? 1,
      column: deep.startColumn ?? 1,
    };
  shared.parser.input = read;
  const tree = shared.parser.graph();
  const [lexed] = errors;
  const [parsed] = shared.parser.errors;
  if (
    lexed !== undefined &&
    (parsed === undefined || lexed.offset <= (parsed.token.startOffset >= 0 ? parsed.token.startOffset : Infinity))
  ) {
    return {
      what: `expected a name, a number or a mark, found '${text.slice(lexed.offset, lexed.offset + 1)}'`,
      line: lexed.line ?? 1,
      column: lexed.column ?? 1,
    };
  }
  if (parsed === undefined) return tree;
  const atEnd = !(parsed.token.startOffset >= 0);
  const lines = text.split('\n');
  return {
    what: parsed.message,
    line: atEnd ? lines.length : (parsed.token.startLine ?? 1),
    column: atEnd ? (lines.at(-1)?.length ?? 0) + 1 : (parsed.token.startColumn ?? 1),
  };
}
