// The kernel of a design of a product by matrix units.
import { enableMatrices, printMatrix } from '../../compiler/kernel/matrix-unit.ts';
import {
  blockOf,
  fragmentsOf,
  sides,
  threadsOf,
  type ProductDesign,
  type ProductSize,
  type Side,
} from './product-design.ts';
import { each, range } from './section.ts';

interface Operand {
  readonly declarations: string;
  /** Loads of a thread for a turn's block; 0 where fragments come from elsewhere. */
  readonly fetches: number;
  /** What the i-th of them reads. */
  readonly fetch: (i: number, turn: string) => string;
  /** Puts the variable `${side}${i}` where the block of a copy has it. */
  readonly store: (i: number, copy: string) => string;
  /** The i-th fragment of a subgroup, `at` terms into the block, as a variable. */
  readonly fragment: (
    name: string,
    i: number,
    at: string,
    where: { readonly copy: string; readonly turn: string },
  ) => string;
}

const halvesOf = { f16: 1, 'vec2<f16>': 2, 'vec4<f16>': 4 } as const;

/** Left: rows `row0`… of the tile, and the subgroup's are below `down`; right: columns `column0`…, and `across`. */
function operandOf(design: ProductDesign, size: ProductSize, lanes: number, side: Side): Operand {
  const { unit, member } = design;
  const threads = threadsOf(design, lanes);
  const source = design[side];
  const isLeft = side === 'left';
  const binding = isLeft ? 0 : 1;
  const [first, subgroup] = isLeft ? ['row0', 'down'] : ['column0', 'across'];
  const count = fragmentsOf(design)[binding];
  const high = isLeft ? unit.m : unit.n;
  const terms = design.tile[2];
  const perFetch = design.fetchBytes / 2;
  const word = design.fetchBytes === 16 ? 'vec4<u32>' : 'vec2<u32>';
  /** A line of memory is a line of terms; else it is a row of the right operand, a term of each column. */
  const isAlongTerms = isLeft || source === 'fragments' || design.rightLine === 'column';
  const lineLength = isAlongTerms ? size.terms : size.columns;
  const block = blockOf(design, side, threads);
  const { lines, length, stride, fetches } = block ?? { lines: 0, length: perFetch, stride: 0, fetches: 0 };
  const perLine = length / perFetch;
  const blockName = `${side}_block`;
  const perMember = halvesOf[member];

  const declarations = [
    `@group(0) @binding(${binding}) var<storage, read> ${side}: array<${block === undefined ? 'f16' : word}>;`,
    block === undefined
      ? ''
      : `var<workgroup> ${blockName}: array<${member}, ${(design.copies * lines * stride) / perMember}>;`,
  ].join('\n');

  const fetch = (i: number, turn: string): string => {
    const thread = `(thread + ${i * threads}u)`;
    const line = `${thread} / ${perLine}u`;
    const [top, start] = isAlongTerms ? [first, `${turn} * ${terms}u`] : [`${turn} * ${terms}u`, first];
    return `${side}[((${top} + ${line}) * ${lineLength}u + ${start}) / ${perFetch}u + ${thread} % ${perLine}u]`;
  };

  const store = (i: number, copy: string): string => {
    const thread = `(thread + ${i * threads}u)`;
    const line = `(${thread} / ${perLine}u) * ${stride / perMember}u`;
    const at = `${copy} * ${(lines * stride) / perMember}u + ${line} + (${thread} % ${perLine}u) * ${perFetch / perMember}u`;
    const words = design.fetchBytes === 16 ? ['x', 'y', 'z', 'w'] : ['x', 'y'];
    const value = `${side}${i}`;
    switch (member) {
      case 'f16':
        return words
          .map(
            (part, j) => `{ let pair = bitcast<vec2<f16>>(${value}.${part});
${blockName}[${at} + ${2 * j}u] = pair.x; ${blockName}[${at} + ${2 * j + 1}u] = pair.y; }`,
          )
          .join('\n');
      case 'vec2<f16>':
        return words.map((part, j) => `${blockName}[${at} + ${j}u] = bitcast<vec2<f16>>(${value}.${part});`).join('\n');
      case 'vec4<f16>':
        return design.fetchBytes === 8
          ? `${blockName}[${at}] = bitcast<vec4<f16>>(${value});`
          : `${blockName}[${at}] = bitcast<vec4<f16>>(${value}.xy);
${blockName}[${at} + 1u] = bitcast<vec4<f16>>(${value}.zw);`;
      default:
        return member satisfies never;
    }
  };

  const fragment: Operand['fragment'] = (name, i, at, { copy, turn }) => {
    const which = `(${subgroup} * ${count}u + ${i}u)`;
    const term = `(${turn} * ${terms}u + ${at})`;
    // A fragment of the right operand has its rows along terms: lines of terms are its columns.
    const load = {
      kind: 'fragment',
      name,
      of: isLeft ? 'rows' : 'columns',
      unit,
      turned: !isLeft && isAlongTerms,
    } as const;
    switch (source) {
      case 'tiles': {
        const within = isAlongTerms
          ? `${which} * ${high * stride}u + ${at}`
          : `${at} * ${stride}u + ${which} * ${high}u`;
        const place = `(${copy} * ${lines * stride}u + ${within}) / ${perMember}u`;
        return printMatrix({ ...load, from: blockName, at: place, stride: stride / perMember });
      }
      case 'lines': {
        const line = `${first} + ${which} * ${high}u`;
        const place = isAlongTerms ? `(${line}) * ${lineLength}u + ${term}` : `${term} * ${lineLength}u + ${line}`;
        return printMatrix({ ...load, from: side, at: place, stride: lineLength });
      }
      case 'fragments': {
        const index = `(${first} / ${high}u + ${which}) * ${size.terms / unit.k}u + ${term} / ${unit.k}u`;
        return printMatrix({ ...load, from: side, at: `(${index}) * ${high * unit.k}u`, stride: unit.k });
      }
      default:
        return source satisfies never;
    }
  };

  return { declarations, fetches, fetch, store, fragment };
}

type Operands = Readonly<Record<Side, Operand>>;

/** All terms of a turn multiplied. */
function multiplyTurn(design: ProductDesign, { left, right }: Operands, copy: string, turn: string): string {
  const { unit, tile } = design;
  const [down, across] = fragmentsOf(design);
  const where = { copy, turn };
  const steps = tile[2] / unit.k;
  const multiply = (i: number, j: number, rows: string, columns: string): string =>
    printMatrix({ kind: 'multiply', into: `sums${i * across + j}`, rows, columns });
  const rows = (at: string, tag: string): string => each(down, (i) => left.fragment(`rows${i}${tag}`, i, at, where));
  const load = (at: string, tag: string): string =>
    `${rows(at, tag)}\n${each(across, (j) => right.fragment(`columns${j}${tag}`, j, at, where))}`;
  const multiplyAll = (tag: string): string =>
    each(down, (i) => each(across, (j) => multiply(i, j, `rows${i}${tag}`, `columns${j}${tag}`)));
  /** One step after another: with `at` counted by a loop, or all written out with names of their own. */
  const inOrder = (step: (at: string, tag: string) => string): string =>
    design.isRolled
      ? `for (var at = 0u; at < ${tile[2]}u; at += ${unit.k}u) {\n${step('at', '')}\n}`
      : each(steps, (q) => step(`${q * unit.k}u`, `_${q}`));
  switch (design.fragments) {
    case 'together':
      return inOrder((at, tag) => `${load(at, tag)}\n${multiplyAll(tag)}`);
    case 'one column at a time':
      return inOrder((at, tag) => {
        const column = (j: number): string =>
          `{ ${right.fragment('column', j, at, where)}\n${each(down, (i) => multiply(i, j, `rows${i}${tag}`, 'column'))} }`;
        return `${rows(at, tag)}\n${each(across, column)}`;
      });
    case 'one step ahead': {
      const next = (q: number): string => (q < steps ? load(`${q * unit.k}u`, `_${q}`) : '');
      return `${next(0)}\n${each(steps, (q) => `${next(q + 1)}\n${multiplyAll(`_${q}`)}`)}`;
    }
    default:
      return design.fragments satisfies never;
  }
}

/** All turns: blocks to workgroup memory as the schedule says, and multiplied. */
function turnsOf(design: ProductDesign, { terms }: ProductSize, operands: Operands): string {
  const turns = terms / design.tile[2];
  const isDouble = design.copies === 2;
  const barrier = 'workgroupBarrier();';
  const loads = sides.flatMap((side) => range(operands[side].fetches).map((i) => ({ side, i })));
  const fetch = (turn: string, how: 'let ' | 'var ' | ''): string =>
    loads.map(({ side, i }) => `${how}${side}${i} = ${operands[side].fetch(i, turn)};`).join('\n');
  const store = (copy: string): string => loads.map(({ side, i }) => operands[side].store(i, copy)).join('\n');
  const piecewise = (turn: string, copy: string): string =>
    loads
      .map(({ side, i }) => `let ${side}${i} = ${operands[side].fetch(i, turn)};\n${operands[side].store(i, copy)}`)
      .join('\n');
  const multiply = (turn: string): string => multiplyTurn(design, operands, 'copy', turn);
  // The last turn fetches its own block again rather than branch.
  const next = `let next = min(turn + 1u, ${turns - 1}u);`;
  const copy = `let copy = ${isDouble ? 'turn % 2u' : '0u'};`;
  const loop = (...body: readonly string[]): string =>
    `for (var turn = 0u; turn < ${turns}u; turn++) {\n${copy}\n${body.join('\n')}\n}`;
  switch (design.schedule) {
    case 'unstaged':
      return loop(multiply('turn'));
    case 'in turn':
      return loop(fetch('turn', 'let '), barrier, store('copy'), barrier, multiply('turn'));
    case 'fetched ahead':
      return `${fetch('0u', 'var ')}\n${loop(store('copy'), barrier, next, fetch('next', ''), multiply('turn'), isDouble ? '' : barrier)}`;
    case 'stored late': {
      const into = isDouble ? '((turn + 1u) % 2u)' : '0u';
      const begin = `{ ${fetch('0u', 'let ')}\n${store('0u')} }\n${barrier}`;
      const body = [next, fetch('next', 'let '), multiply('turn'), isDouble ? '' : barrier, store(into), barrier];
      return `${begin}\n${loop(...body)}`;
    }
    case 'staggered':
    case 'staggered, piece by piece': {
      const fill =
        design.schedule === 'staggered' ? `${fetch('turn', 'let ')}\n${store('copy')}` : piecewise('turn', 'copy');
      return `for (var turn = 0u; turn <= ${turns}u; turn++) {
if (turn < ${turns}u) { let copy = turn % 2u;\n${fill} }
if (turn > 0u) { let copy = (turn + 1u) % 2u; let last = turn - 1u;\n${multiply('last')} }
${barrier}
}`;
    }
    default:
      return design.schedule satisfies never;
  }
}

/** Which tile a workgroup makes: `row` and `column` of tiles. */
function tileOf({ band, tile }: ProductDesign, { columns }: ProductSize): string {
  if (band === 1) return 'let row = group.y; let column = group.x;';
  const across = columns / tile[1];
  return `let index = group.y * ${across}u + group.x;
let within = index % ${band * across}u;
let row = index / ${band * across}u * ${band}u + within % ${band}u;
let column = within / ${band}u;`;
}

/** A grid of columns / tile columns by rows / tile rows; every size is a constant. */
export function productWgsl(design: ProductDesign, size: ProductSize, lanes: number): string {
  const { tile, subgroups, unit } = design;
  const operands = { left: operandOf(design, size, lanes, 'left'), right: operandOf(design, size, lanes, 'right') };
  const [down, across] = fragmentsOf(design);
  const result = (i: number, j: number): string => {
    const row = `row0 + (down * ${down}u + ${i}u) * ${unit.m}u`;
    const at = `(${row}) * ${size.columns}u + column0 + (across * ${across}u + ${j}u) * ${unit.n}u`;
    return printMatrix({ kind: 'spread', into: 'product', at, stride: size.columns, sums: `sums${i * across + j}` });
  };
  return `enable f16;
enable subgroups;
${enableMatrices}
${operands.left.declarations}
${operands.right.declarations}
@group(0) @binding(2) var<storage, read_write> product: array<f32>;
@compute @workgroup_size(${threadsOf(design, lanes)})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32, @builtin(subgroup_id) subgroup: u32) {
${tileOf(design, size)}
let row0 = row * ${tile[0]}u; let column0 = column * ${tile[1]}u;
let down = subgroup / ${subgroups[1]}u; let across = subgroup % ${subgroups[1]}u;
${each(down * across, (i) => printMatrix({ kind: 'sums', name: `sums${i}`, unit }))}
${turnsOf(design, size, operands)}
${each(down, (i) => each(across, (j) => result(i, j)))}
}`;
}
