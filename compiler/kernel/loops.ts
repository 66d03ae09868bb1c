// What becomes of loops when a kernel is written. What every turn would compute alike is taken in front of them: drivers that check each load
// against the buffer and the lanes that are awake do not do that, and load a word of eight codes eight times. And some must not be unrolled:
// a software driver compiles every load of every turn, for seconds, and wins nothing.
import type { Kernel, Stmt } from './kernel.ts';

/** Drivers unroll loops whose number of turns they know, up to about this many. */
const mostUnrolled = 32;

/**
 * The same statements, with `rolled` on each loop whose turns together read more than `loads` elements. Loops that index an array of
 * registers stay: registers have no addresses.
 */
export function rollLoops(stmts: readonly Stmt[], loads: number, kernel: Memory): readonly Stmt[] {
  return walkLoops(stmts, loads, kernel).stmts;
}

type Memory = Pick<Kernel, 'slots' | 'shared'>;

interface Walked {
  readonly stmts: readonly Stmt[];
  readonly loads: number;
}

function walkLoops(stmts: readonly Stmt[], loads: number, { slots, shared }: Memory): Walked {
  const widths = new Map<string, number>([
    ...slots.map((slot) => [slot.name, slot.width] as const),
    ...slots.map((slot) => [`load_${slot.name}`, slot.width] as const),
    ...shared.map(({ name, type }) => [name, type.startsWith('vec4') ? 4 : 1] as const),
  ]);
  const loadsOf = (text: string): number =>
    [...text.matchAll(/([A-Za-z]\w*)[[(]/g)].reduce((sum, [, name = '']) => sum + (widths.get(name) ?? 0), 0);
  const walk = (block: readonly Stmt[]): Walked => {
    const made = block.map((stmt): { readonly stmt: Stmt; readonly loads: number } => {
      switch (stmt.kind) {
        case 'loop': {
          const body = walk(stmt.body);
          const turns = turnsOf(stmt);
          const unrolled = turns === undefined || turns > mostUnrolled ? 1 : turns;
          const isRolled = unrolled > 1 && unrolled * body.loads > loads && !indexesRegisters(stmt.body, stmt.name);
          return {
            stmt: { ...stmt, body: body.stmts, ...(isRolled ? { rolled: true as const } : {}) },
            loads: (isRolled ? 1 : unrolled) * body.loads,
          };
        }
        case 'when': {
          const body = walk(stmt.body);
          return { stmt: { ...stmt, body: body.stmts }, loads: body.loads };
        }
        case 'let':
        case 'var':
        case 'assign':
        case 'store':
          return { stmt, loads: loadsOf(stmt.value.text) };
        // Fragments come in and go out by the block; what a driver unrolls of them is not loads.
        case 'array':
        case 'barrier':
        case 'sums':
        case 'fragment':
        case 'multiply':
        case 'spread':
          return { stmt, loads: 0 };
        default:
          return stmt satisfies never;
      }
    });
    return { stmts: made.map(({ stmt }) => stmt), loads: made.reduce((sum, one) => sum + one.loads, 0) };
  };
  const registers = new Set(arraysOf(stmts));
  function indexesRegisters(body: readonly Stmt[], variable: string): boolean {
    if (registers.size === 0) return false;
    const indexed = new RegExp(`\\b(${[...registers].join('|')})\\[[^\\]]*\\b${variable}\\b`);
    return body.some((stmt) => textsOf(stmt).some((text) => indexed.test(text)));
  }
  return walk(stmts);
}

/** Turns of a loop from 0 to a number. */
function turnsOf({ from, end, step }: Extract<Stmt, { readonly kind: 'loop' }>): number | undefined {
  return from === '0u' && /^\d+u$/.test(end) ? Math.ceil(Number.parseInt(end, 10) / step) : undefined;
}

function arraysOf(stmts: readonly Stmt[]): readonly string[] {
  return stmts.flatMap((stmt) =>
    stmt.kind === 'array' ? [stmt.name] : stmt.kind === 'loop' || stmt.kind === 'when' ? arraysOf(stmt.body) : [],
  );
}

function textsOf(stmt: Stmt): readonly string[] {
  switch (stmt.kind) {
    case 'let':
    case 'var':
    case 'store':
      return [stmt.value.text];
    case 'assign':
      return [stmt.target, stmt.value.text];
    case 'loop':
    case 'when':
      return stmt.body.flatMap(textsOf);
    case 'array':
    case 'barrier':
    case 'sums':
    case 'fragment':
    case 'multiply':
    case 'spread':
      return [];
    default:
      return stmt satisfies never;
  }
}

/**
 * The same statements, with values that depend neither on a loop's counter nor on what its body assigns in front of the loop: of loops that
 * turn at least once and hold nothing but values, variables, assignments and such loops.
 */
export function hoistInvariants(stmts: readonly Stmt[]): readonly Stmt[] {
  return stmts.flatMap((stmt): readonly Stmt[] => {
    if (stmt.kind === 'when') return [{ ...stmt, body: hoistInvariants(stmt.body) }];
    if (stmt.kind !== 'loop') return [stmt];
    const body = hoistInvariants(stmt.body);
    if (stmt.turns !== true) return [{ ...stmt, body }];
    const { before, rest } = apart(body, stmt.name);
    return [...before, { ...stmt, body: rest }];
  });
}

function apart(
  body: readonly Stmt[],
  counter: string,
): { readonly before: readonly Stmt[]; readonly rest: readonly Stmt[] } {
  const assigned = assignedIn(body);
  if (assigned === undefined) return { before: [], rest: body };
  const changing = new Set([counter, ...assigned]);
  const [before, rest]: [Stmt[], Stmt[]] = [[], []];
  for (const stmt of body) {
    const isFixed =
      (stmt.kind === 'let' || stmt.kind === 'var') &&
      !changing.has(stmt.name) &&
      // Lanes exchange values where they are.
      !stmt.value.text.includes('subgroup') &&
      wordsOf(stmt.value.text).every((word) => !changing.has(word));
    if (!isFixed && (stmt.kind === 'let' || stmt.kind === 'var')) changing.add(stmt.name);
    (isFixed ? before : rest).push(stmt);
  }
  return { before, rest };
}

/** Names that statements assign to; undefined where they do more than compute. */
function assignedIn(body: readonly Stmt[]): readonly string[] | undefined {
  const found: string[] = [];
  for (const stmt of body) {
    if (stmt.kind === 'let' || stmt.kind === 'var') continue;
    const own =
      stmt.kind === 'assign'
        ? wordsOf(stmt.target)
        : stmt.kind === 'loop' && stmt.turns === true
          ? assignedIn(stmt.body)
          : undefined;
    if (own === undefined) return undefined;
    found.push(...own);
  }
  return found;
}

function wordsOf(text: string): readonly string[] {
  return [...text.matchAll(/[A-Za-z_]\w*/g)].map(([word]) => word);
}
