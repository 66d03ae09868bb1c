// Loops that a software driver must not unroll: it compiles every load of every turn, for seconds, and wins nothing.
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
