// A kernel as WGSL text.
import { writeHelpers, type Helper } from '../../dsl/wgsl.ts';
import { indexText, symbolName } from '../index/index-text.ts';
import { enableMatrices, matrixFeature, printMatrix } from './matrix-unit.ts';
import { builtins, unknownZero } from './names.ts';
import { bindingsOf, type Kernel, type KernelPart, type Slot, type Stmt } from './kernel.ts';
import type { PlanKernel } from '../plan.ts';
import { hoistInvariants, rollLoops } from './loops.ts';
import { storedType } from './element-format.ts';

/** Access of each slot, in the kernel's order: a buffer that is written must be bound as read_write everywhere in the dispatch. */
export type Access = readonly ('read' | 'read_write')[];

/**
 * The WGSL of a kernel. `symbols`: every symbol of the plan, in the order of the symbols buffer, which is bound last when it is read.
 * `mostUnrolled`: elements that the turns of a loop may load together, where a driver that knows their number unrolls them.
 */
export function emit(
  kernel: Kernel,
  access: Access,
  symbols: readonly string[],
  name: string,
  mostUnrolled = Infinity,
): PlanKernel {
  const written = (body: readonly Stmt[]) => rollLoops(hoistInvariants(withoutUnread(body)), mostUnrolled, kernel);
  const stmts = written(kernel.body);
  const parts = (kernel.parts ?? []).map((part) => ({ ...part, body: written(part.body) }));
  const body = parts.length === 0 ? printBody(stmts) : choose(parts);
  const functions = parts.map((part, i) => partFunction(part, i, symbols));
  const helpers = writeHelpers([stmts, ...parts.map((part) => part.body)].flatMap(needsOf));
  const used = symbols.filter((s) => [body, ...functions].some((part) => reads(part, s)));
  const matrices = kernel.matrices === true;
  const f16 = matrices || kernel.slots.some((s) => s.storage.dtype === 'f16');
  const slots = kernel.slots
    .flatMap((slot, i) =>
      Array.from({ length: bindingsOf(slot) }, (_, piece) => ({
        slot,
        name: pieceName(slot, piece),
        access: access[i] ?? 'read',
      })),
    )
    .map(
      ({ slot, name: id, access: mode }, i) =>
        `@group(0) @binding(${i}) var<storage, ${mode}> ${id}: array<${elementType(slot)}>; // ${axesText(slot)}`,
    );
  const accesses = kernel.slots.flatMap((slot) => (slot.piece === undefined ? [] : pieceAccess(slot, body)));
  if (used.length > 0) slots.push(`@group(0) @binding(${slots.length}) var<storage, read> sizes: array<u32>;`);
  const parameters = Object.entries(builtins)
    .filter(([id]) => new RegExp(`(?<![.\\w])${id}\\b`).test(body))
    .map(([id, [builtin, type]]) => `@builtin(${builtin}) ${id}: ${type}`);
  const text = [
    ...(f16 ? ['enable f16;'] : []),
    ...(kernel.subgroups ? ['enable subgroups;'] : []),
    ...(matrices ? [enableMatrices] : []),
    `// ${kernel.template}`,
    ...slots,
    ...kernel.shared.map((m) => `var<workgroup> ${m.name}: array<${m.type}, ${m.length}>;`),
    ...accesses,
    ...(helpers === '' ? [] : [helpers]),
    ...functions,
    `@compute @workgroup_size(${kernel.threads})`,
    `fn main(${parameters.join(', ')}) {`,
    ...sizesIn(body, symbols),
    body,
    '}',
    '',
  ].join('\n');
  return {
    name,
    wgsl: text,
    access: [
      ...kernel.slots.flatMap((slot, i) => Array.from({ length: bindingsOf(slot) }, () => access[i] ?? 'read')),
      ...(used.length > 0 ? (['read'] as const) : []),
    ],
    features: [
      ...(f16 ? (['shader-f16'] as const) : []),
      ...(kernel.subgroups ? (['subgroups'] as const) : []),
      ...(matrices ? ([matrixFeature] as const) : []),
    ],
  };
}

/** Each part sees the grid that it would have alone. */
function choose(parts: readonly KernelPart[]): string {
  const isStacked = parts.every(({ grid }) => grid === undefined);
  const calls = parts.map((part, i) => {
    const { from, grid } = part;
    const lanes = lanesOf(part)
      .map((name) => `, ${name}`)
      .join('');
    if (grid === undefined) {
      const call = `part_${i}(vec3u(group.x, group.y, 0u), vec3u(groups.x, groups.y, 1u), thread${lanes});`;
      return `if (group.z == ${from}u) {\n    ${call}\n  }`;
    }
    const [x, y, z] = grid;
    const end = from + x * y * z;
    const own = from === 0 ? 'group_of_all' : `(group_of_all - ${from}u)`;
    // Times 1, which the compiler does not know: what is bounded by it is not unrolled.
    const call = `part_${i}(vec3u(${own} % ${x}u, ${own} / ${x}u % ${y}u, ${own} / ${x * y}u), vec3u(${x}u, ${y}u, ${z}u) * groups.z, thread${lanes});`;
    return `if (group_of_all < ${end}u) {\n    ${call}\n  }`;
  });
  const choice = `  ${calls.join(' else ')}`;
  return isStacked ? choice : `  let group_of_all = group.y * groups.x + group.x;\n${choice}`;
}

/** What a part reads of where a thread stands in its subgroup. */
function lanesOf({ body, subgroups }: KernelPart): readonly string[] {
  if (!subgroups) return [];
  return ['lane', ...(/(?<![.\w])subgroup\b/.test(printBody(body)) ? ['subgroup'] : [])];
}

function partFunction(part: KernelPart, i: number, symbols: readonly string[]): string {
  const { template, names, body } = part;
  const text = printBody(body).replace(/(?<![.\w])[A-Za-z]\w*/g, (word) => names.get(word) ?? word);
  const parameters = `group: vec3u, groups: vec3u, thread: u32${lanesOf(part)
    .map((name) => `, ${name}: u32`)
    .join('')}`;
  return [`// ${template}`, `fn part_${i}(${parameters}) {`, ...sizesIn(text, symbols), text, '}'].join('\n');
}

/** Whether a kernel of this body binds the sizes of a run. */
export function readsSizes(body: readonly Stmt[], symbols: readonly string[]): boolean {
  if (symbols.length === 0) return false;
  const text = printBody(body);
  return symbols.some((symbol) => reads(text, symbol));
}

function reads(text: string, symbol: string): boolean {
  return new RegExp(`\\b${symbolName(symbol)}\\b`).test(text);
}

/** The sizes of a run that a text reads, by name. */
function sizesIn(text: string, symbols: readonly string[]): readonly string[] {
  return symbols.flatMap((s, i) => (reads(text, s) ? [`  let ${symbolName(s)} = sizes[${i}];`] : []));
}

// Axis names only: with the names of storages in it, the text of equal kernels would differ, and each would be compiled.
function pieceName(slot: Slot, piece: number): string {
  return slot.piece === undefined ? slot.name : `${slot.name}_${piece}`;
}

/** What reads and writes a tensor that is bound in several pieces, as far as the kernel does. */
function pieceAccess(slot: Slot, body: string): readonly string[] {
  const size = slot.piece ?? 0;
  const last = bindingsOf(slot) - 1;
  const type = elementType(slot);
  const each = (access: (name: string, at: string) => string) =>
    Array.from({ length: last + 1 }, (_, i) => {
      const at = i === 0 ? 'i' : `i - ${i * size}u`;
      return i === last
        ? `  ${access(pieceName(slot, i), at)}`
        : `  if (i < ${(i + 1) * size}u) { ${access(pieceName(slot, i), at)} }`;
    }).join('\n');
  const [load, store] = [`load_${slot.name}`, `store_${slot.name}`];
  return [
    ...(body.includes(`${load}(`)
      ? [`fn ${load}(i: u32) -> ${type} {\n${each((name, at) => `return ${name}[${at}];`)}\n}`]
      : []),
    ...(slot.write
      ? [`fn ${store}(i: u32, value: ${type}) {\n${each((name, at) => `${name}[${at}] = value; return;`)}\n}`]
      : []),
  ];
}

function axesText(slot: Slot): string {
  return slot.storage.axes
    .map((a) => a.name)
    .join(' ')
    .replace(/[^\x20-\x7e]/g, '?');
}

function elementType(slot: Slot): string {
  return storedType(slot.storage.dtype, slot.width);
}

/** With the zero that drivers do not see through, where something reads it. */
function printBody(stmts: readonly Stmt[]): string {
  const text = print(stmts, '  ');
  return text.includes(unknownZero) ? `  let ${unknownZero} = groups.y / (groups.y + 1u);\n${text}` : text;
}

function print(stmts: readonly Stmt[], indent: string): string {
  return stmts.map((s) => `${indent}${printStmt(s, indent)}`).join('\n');
}

/** Without named indices that nothing reads: their names went where indices were put together again. */
function withoutUnread(stmts: readonly Stmt[]): readonly Stmt[] {
  const reads = new Map<string, number>();
  const count = (text: string, by: number): void => {
    for (const [word] of text.matchAll(/[A-Za-z]\w*/g)) reads.set(word, (reads.get(word) ?? 0) + by);
  };
  count(print(stmts, ''), 1);
  // A name is read by later ones only.
  const keep = (block: readonly Stmt[]): readonly Stmt[] =>
    block
      .toReversed()
      .flatMap((stmt): Stmt | readonly Stmt[] => {
        if (stmt.kind === 'loop' || stmt.kind === 'when') return { ...stmt, body: keep(stmt.body) };
        if (stmt.kind !== 'let' || stmt.isIndex !== true || (reads.get(stmt.name) ?? 0) > 1) return stmt;
        count(stmt.value.text, -1);
        return [];
      })
      .toReversed();
  return keep(stmts);
}

function printStmt(stmt: Stmt, indent: string): string {
  switch (stmt.kind) {
    case 'let':
      return `let ${stmt.name} = ${stmt.value.text};`;
    case 'var':
      return `var ${stmt.name} = ${stmt.value.text};`;
    case 'array':
      return `var ${stmt.name}: array<${stmt.type}, ${stmt.length}>;`;
    case 'assign':
      return `${stmt.target} = ${stmt.value.text};`;
    case 'store':
      return stmt.slot.piece === undefined
        ? `${stmt.slot.name}[${indexText(stmt.at)}] = ${stmt.value.text};`
        : `store_${stmt.slot.name}(${indexText(stmt.at)}, ${stmt.value.text});`;
    case 'loop':
      return `for (var ${stmt.name} = ${stmt.rolled === true ? unknownZero : stmt.from}; ${stmt.name} < ${stmt.end}; ${stmt.name} += ${stmt.step}u) {\n${print(stmt.body, `${indent}  `)}\n${indent}}`;
    case 'when':
      return `if (${stmt.test}) {\n${print(stmt.body, `${indent}  `)}\n${indent}}`;
    case 'barrier':
      return 'workgroupBarrier();';
    case 'sums':
    case 'fragment':
    case 'multiply':
    case 'spread':
      return printMatrix(stmt);
    default:
      return stmt satisfies never;
  }
}

function needsOf(stmts: readonly Stmt[]): readonly Helper[] {
  return stmts.flatMap((s): readonly Helper[] => {
    switch (s.kind) {
      case 'let':
      case 'var':
      case 'assign':
      case 'store':
        return s.value.needs;
      case 'loop':
      case 'when':
        return needsOf(s.body);
      case 'array':
      case 'barrier':
      case 'sums':
      case 'fragment':
      case 'multiply':
      case 'spread':
        return [];
      default:
        return s satisfies never;
    }
  });
}
