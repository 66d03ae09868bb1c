// Where a node comes from: the model path of its parameters, and the line of the user's code that asked for it.
import { OpabiniaError, sayPlace } from './error.ts';
import { roleOf, type Node, type Origin } from './graph/graph.ts';

const folder = new URL('.', import.meta.url).href;
/** In a project of somebody's own no line of a package is his, whether it is of ours or not. */
const isInstalled = folder.includes('/node_modules/');
const framesKept = 24;
/** An error is rare, and what a model is made of may be many calls deep. */
const framesOfErrors = 64;
const models = new URL('../models/', import.meta.url).href;

let scope: string | undefined;
let keepsFrames = true;

/** Runs `build` without finding out the lines of code that its nodes come from, which is a third of what tracing takes: for graphs that are only counted. */
export function withoutPlaces<T>(build: () => T): T {
  const outer = keepsFrames;
  keepsFrames = false;
  try {
    return build();
  } finally {
    keepsFrames = outer;
  }
}

/** As `withoutPlaces`; where an op refuses, `build` runs once more, so that the error names the line. */
export function withPlacesOfErrors<T>(build: () => T): T {
  try {
    return withoutPlaces(build);
  } catch (error) {
    if (!(error instanceof OpabiniaError) || error.place !== undefined) throw error;
  }
  return build();
}

/** Runs `build` with every node it makes at the model path `path`: a module's statistics belong to the module, not to its input. */
export function at<T>(path: string, build: () => T): T {
  const outer = scope;
  scope = path;
  try {
    return build();
  } finally {
    scope = outer;
  }
}

/** As `at`, with the path that a node of these operands would have; inside a module, the module's. */
export function atOperands<T>(operands: readonly Node[], build: () => T): T {
  return at(scope ?? pathOf(operands), build);
}

/** The origin of a node with these operands, asked for by the code that is running now. */
export function originOf(operands: readonly Node[]): Origin {
  return new Lazy(scope ?? pathOf(operands));
}

/** The origin of a call without operands. */
export function here(path = scope ?? ''): Origin {
  return new Lazy(path);
}

/** An origin whose place is found only when somebody asks: V8 keeps the frames cheaply and formats them on first reading. */
class Lazy implements Origin {
  readonly path: string;
  #stack: Error | undefined;
  #place: string | undefined;

  constructor(path: string) {
    this.path = path;
    if (!keepsFrames) return;
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = framesKept;
    this.#stack = new Error();
    Error.stackTraceLimit = limit;
  }

  get place(): string | undefined {
    if (this.#stack !== undefined) {
      this.#place = placeIn(this.#stack.stack ?? '');
      this.#stack = undefined;
    }
    return this.#place;
  }
}

/**
 * Runs the function that a user traces: what refuses within it says his line, though who refused did not know it. Code of `models` that refuses
 * by itself is not his line, who calls it is.
 */
export function withPlaces<T>(build: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = Math.max(limit, framesOfErrors);
  try {
    return build();
  } catch (error) {
    if (keepsFrames && error instanceof OpabiniaError && error.place === undefined) {
      const stack = error.stack ?? '';
      const place = placeIn(stack, isThrownBy(models, stack) ? [folder, models] : [folder]) ?? placeIn(stack);
      if (place !== undefined) sayPlace(error, place);
    }
    throw error;
  } finally {
    Error.stackTraceLimit = limit;
  }
}

function isThrownBy(of: string, stack: string): boolean {
  return framesOf(stack)[0]?.url.startsWith(of) === true;
}

/**
 * The first frame outside this folder, as `models/vit.ts:31`; where this is installed, the first outside of packages if there is one.
 * `passed`: the folders to look outside of.
 */
export function placeIn(stack: string, passed: readonly string[] = [folder]): string | undefined {
  let inPackage: string | undefined;
  for (const { file, url, row } of framesOf(stack)) {
    if (passed.some((of) => url.startsWith(of))) continue;
    const place = `${shorten(file.startsWith('/') ? file : decoded(url))}:${row}`;
    if (!isInstalled || !url.includes('/node_modules/')) return place;
    inPackage ??= place;
  }
  return inPackage;
}

interface Frame {
  /** As V8 has it: a URL or a path. */
  readonly file: string;
  readonly url: string;
  readonly row: string;
}

/** The frames of a stack that are of files, the innermost first. */
function framesOf(stack: string): readonly Frame[] {
  return stack
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const frame = /(?:\(|at )((?:file:\/\/)?[^()\s][^()]*):(\d+):\d+\)?$/.exec(line.trim());
      const [, file, row] = frame ?? [];
      if (file === undefined || row === undefined || file.startsWith('node:')) return [];
      return [{ file, row, url: file.startsWith('/') ? `file://${file}` : file }];
    });
}

/** With what a URL escapes, a space above all, as it is. */
function decoded(url: string): string {
  try {
    return decodeURI(url);
  } catch {
    return url;
  }
}

/** Relative to the working directory where there is one and it holds the file. */
function shorten(url: string): string {
  const path = url
    .replace(/^file:\/\//, '')
    .replace(/^async /, '')
    .replace(/\?.*$/, '');
  const directory = typeof process === 'undefined' ? '' : `${process.cwd()}/`;
  return directory !== '' && path.startsWith(directory) ? path.slice(directory.length) : path;
}

/** The parent path of a parameter operand; else the common prefix of the operands' paths; else the last operand's. */
function pathOf(operands: readonly Node[]): string {
  const parameters = operands.flatMap((node) => parameterPath(node) ?? []);
  // A number is one node wherever it is used: its path is that of the first use, and says nothing of the others.
  const paths =
    parameters.length > 0
      ? parameters
      : operands
          .filter((node) => roleOf(node) !== 'constant')
          .map((node) => node.origin.path)
          .filter((path) => path !== '');
  const common = paths.reduce<string | undefined>(
    (prefix, path) => (prefix === undefined ? path : commonPath(prefix, path)),
    undefined,
  );
  return common === undefined || common === '' ? (paths.at(-1) ?? '') : common;
}

/** The path of the module whose parameter this is, possibly seen through views. */
function parameterPath(node: Node): string | undefined {
  let source = node;
  while (source.op.kind === 'view') {
    const [inner] = source.inputs;
    if (inner === undefined) return undefined;
    source = inner;
  }
  if (roleOf(source) !== 'param') return undefined;
  return source.origin.path.split('.').slice(0, -1).join('.');
}

function commonPath(a: string, b: string): string {
  const [left, right] = [a.split('.'), b.split('.')];
  const end = left.findIndex((part, i) => part !== right[i]);
  return (end === -1 ? left : left.slice(0, end)).join('.');
}
