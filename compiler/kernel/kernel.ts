// The loop IR of one kernel: the whole grammar on one screen, and the block that statements are written into.
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import type { Code, WgslType } from '../../dsl/wgsl.ts';
import { code } from '../../dsl/wgsl.ts';
import { add, atomIndex, constantIndex, variable, type Atom, type Index, type Variable } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { MatrixStmt } from './matrix-unit.ts';
import type { Names } from './names.ts';
import type { Storage } from './storage.ts';

export type Stmt =
  /** `isIndex`: the name of an index, which is dropped where nothing reads it. */
  | { readonly kind: 'let'; readonly name: string; readonly value: Code; readonly isIndex?: true }
  | { readonly kind: 'var'; readonly name: string; readonly value: Code }
  | { readonly kind: 'array'; readonly name: string; readonly type: WgslType; readonly length: number }
  | { readonly kind: 'assign'; readonly target: string; readonly value: Code }
  | { readonly kind: 'store'; readonly slot: Slot; readonly at: Index; readonly value: Code }
  | {
      readonly kind: 'loop';
      readonly name: string;
      readonly from: string;
      readonly end: string;
      readonly step: number;
      readonly body: readonly Stmt[];
      /** It begins at 0, and the driver must not know how often it turns. */
      readonly rolled?: true;
      /** Once at least. */
      readonly turns?: true;
    }
  | { readonly kind: 'when'; readonly test: string; readonly body: readonly Stmt[] }
  | { readonly kind: 'barrier' }
  | MatrixStmt;

/** A storage buffer as one kernel sees it: which stored value, in elements of which type. */
export interface Slot {
  readonly name: string;
  readonly storage: Storage;
  /** 1, or 4 for vec4 elements. */
  readonly width: 1 | 4;
  readonly write: boolean;
  /** Array elements in each binding, for a tensor over the device's limit for one binding; undefined when one holds it all. */
  readonly piece: number | undefined;
}

/** Bytes of one element of the slot's array. Two bf16 make a word: WGSL has no smaller integer. */
export function unitBytes({ storage, width }: Pick<Slot, 'storage' | 'width'>): number {
  return storage.dtype === 'bf16' && width === 1 ? 4 : dtypeBytes(storage.dtype) * width;
}

/** Offsets of bindings are multiples of this on every device. */
const pieceAlignment = 256;

/** Bytes of a tensor that one binding holds, where it takes several: pieces start at aligned offsets. */
export function bytesInBinding(maxBindingBytes: number): number {
  return Math.floor(maxBindingBytes / pieceAlignment) * pieceAlignment;
}

/** Bindings that a slot takes. */
export function bindingsOf(slot: Slot): number {
  if (slot.piece === undefined) return 1;
  return Math.ceil((slot.storage.elements.most * dtypeBytes(slot.storage.dtype)) / unitBytes(slot) / slot.piece);
}

/** The array element at an index, as text. */
export function elementText(slot: Slot, at: string): string {
  return slot.piece === undefined ? `${slot.name}[${at}]` : `load_${slot.name}(${at})`;
}

/** Workgroup memory. */
export interface Shared {
  readonly name: string;
  /** Half precision is what matrix units read; nothing else computes with it. */
  readonly type: WgslType | 'f16' | 'vec4<f16>';
  readonly length: number;
}

export function sharedBytes(shared: readonly Shared[]): number {
  return shared.reduce((sum, { type, length }) => {
    const element = type.includes('f16') ? 2 : 4;
    return sum + length * element * (type.startsWith('vec4') ? 4 : 1);
  }, 0);
}

export interface Kernel {
  readonly template: string;
  readonly threads: number;
  /** Workgroups along x, y, z. */
  readonly grid: readonly [Index, Index, Index];
  readonly slots: readonly Slot[];
  readonly shared: readonly Shared[];
  readonly body: readonly Stmt[];
  /** Kernels that share a dispatch, in the place of a body. */
  readonly parts?: readonly KernelPart[];
  readonly subgroups: boolean;
  /** It multiplies by matrix units. */
  readonly matrices?: boolean;
  /** Every element that the body touches, for `verify`. */
  readonly accesses: readonly { readonly slot: Slot; readonly at: Index; readonly width: 1 | 4 }[];
}

/** One of several kernels in a dispatch. */
export interface KernelPart {
  readonly template: string;
  /** Its first workgroup, and how many there are along x, y, z; or, where that depends on a run and all parts have as many, its place along z. */
  readonly from: number;
  readonly grid: readonly [number, number, number] | undefined;
  /** What its slots and its workgroup memory are called in the whole. */
  readonly names: ReadonlyMap<string, string>;
  readonly body: readonly Stmt[];
  readonly subgroups: boolean;
}

/** Statements being written; a block inside another sees what the outer one has computed. */
export class Block {
  readonly stmts: Stmt[] = [];
  readonly names: Names;
  readonly #outer: Block | undefined;
  readonly #known = new Map<string, Code>();

  constructor(names: Names, outer?: Block) {
    this.names = names;
    this.#outer = outer;
  }

  /** A value computed before under this key, here or in an enclosing block. */
  known(key: string): Code | undefined {
    return this.#known.get(key) ?? this.#outer?.known(key);
  }

  /** Computes `value` once; later uses under the same key read the variable. Bare names and literals are not copied. */
  let(stem: string, value: Code, key?: string): Code {
    const bare = /^[\w.]+$/.test(value.text);
    const result = bare ? value : this.#bind(stem, value);
    if (key !== undefined) this.#known.set(key, result);
    return result;
  }

  #bind(stem: string, value: Code): Code {
    const name = this.names.fresh(stem);
    this.stmts.push({ kind: 'let', name, value });
    return code(name, value.type, value.needs);
  }

  /** An index that counts up to `end`, as a variable. */
  index(stem: string, text: string, end: Index): Index {
    const name = this.names.fresh(stem);
    this.stmts.push({ kind: 'let', name, value: code(text, 'u32'), isIndex: true });
    return atomIndex(loopVariable(name, end));
  }

  /**
   * An index whose one quotient, remainder or clamp has a name in the kernel: `stem`, or `stem_quad` where it counts vectors. Of other
   * indices there is nothing to name. It stays what it is in arithmetic: put together again, the name is gone.
   */
  named(stem: string, index: Index): Index {
    const [only, ...more] = index.terms.filter(({ atom }) => isCompound(atom));
    if (only === undefined || more.length > 0 || !isCompound(only.atom) || only.atom.identifier !== undefined)
      return index;
    const identifier = this.names.fresh(only.times === 4 ? `${stem}_quad` : stem);
    this.stmts.push({
      kind: 'let',
      name: identifier,
      value: code(indexText(atomIndex(only.atom)), 'u32'),
      isIndex: true,
    });
    const atom: Atom = { ...only.atom, identifier };
    return { ...index, terms: index.terms.map((term) => (term === only ? { ...term, atom } : term)) };
  }

  var(stem: string, value: Code): Code {
    const name = this.names.fresh(stem);
    this.stmts.push({ kind: 'var', name, value });
    return code(name, value.type);
  }

  array(stem: string, type: WgslType, length: number): string {
    const name = this.names.fresh(stem);
    this.stmts.push({ kind: 'array', name, type, length });
    return name;
  }

  assign(target: string, value: Code): void {
    this.stmts.push({ kind: 'assign', target, value });
  }

  store(slot: Slot, at: Index, value: Code): void {
    this.stmts.push({ kind: 'store', slot, at, value });
  }

  matrix(stmt: MatrixStmt): void {
    this.stmts.push(stmt);
  }

  barrier(): void {
    this.stmts.push({ kind: 'barrier' });
  }

  /**
   * `for (name = from; name < end; name += step)`; the body gets the loop variable with its interval. `turns`: once at least, whatever `endText`
   * says, so that what does not change from turn to turn may be computed in front of it.
   */
  loop(
    stem: string,
    end: Index,
    write: (body: Block, index: Index) => void,
    options: {
      readonly from?: Index;
      readonly step?: number;
      readonly endText?: string;
      readonly turns?: true;
    } = {},
  ): void {
    // Nothing is written for a loop that never turns: its body would touch elements that are not there.
    if (end.most <= 0) return;
    const name = this.names.fresh(stem);
    const body = new Block(this.names, this);
    const from = options.from ?? constantIndex(0);
    const step = options.step ?? 1;
    const plain = loopVariable(name, end, from.least);
    // A loop from 0 in steps never reaches the elements after its last step.
    const most = from.key === '0' ? Math.max(0, Math.floor((end.most - 1) / step) * step) : plain.most;
    write(body, atomIndex({ ...plain, most }));
    this.stmts.push({
      kind: 'loop',
      name,
      from: indexText(from),
      end: options.endText ?? indexText(end),
      step: options.step ?? 1,
      body: body.stmts,
      ...(options.turns === true ? { turns: true } : {}),
    });
  }

  when(test: string, write: (body: Block) => void): void {
    if (test === 'true') {
      write(this);
      return;
    }
    const body = new Block(this.names, this);
    write(body);
    this.stmts.push({ kind: 'when', test, body: body.stmts });
  }
}

type Compound = Extract<Atom, { readonly kind: 'divide' | 'remainder' | 'clamp' }>;

function isCompound(atom: Atom): atom is Compound {
  return atom.kind === 'divide' || atom.kind === 'remainder' || atom.kind === 'clamp';
}

/** A loop variable below a symbolic end carries the end in its key, so that `v % end` is `v`. */
export function loopVariable(name: string, end: Index, least = 0): Variable {
  const plain = variable(name, Math.max(0, end.most - 1), least);
  return end.terms.length === 0 ? plain : { ...plain, key: `${name}<${end.key}`, end };
}

/** ceil(a / by) */
export function ceilDivide(a: Index, by: number): Index {
  if (a.terms.length === 0) return constantIndex(Math.ceil(a.constant / by));
  return scaleDown(add(a, constantIndex(by - 1)), by);
}

function scaleDown(a: Index, by: number): Index {
  return by === 1
    ? a
    : atomIndex({
        kind: 'divide',
        of: a,
        by: constantIndex(by),
        least: Math.floor(a.least / by),
        most: Math.floor(a.most / by),
        key: `(${a.key}/${by})`,
      });
}
