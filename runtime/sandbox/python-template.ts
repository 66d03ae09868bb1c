// Jinja templates as Python renders them, where the library does otherwise: escapes in strings, of which LLaVA-NeXT's own template has
// one that is refused (`'<\s>'`), and what is stripped from texts (`.strip('\n')`, as Qwen3's has it, left no space either).
import { Template } from '@huggingface/jinja';
import { trimmed } from './python-strip.ts';

/** What a template makes of its context. Runs a stranger's program: in the sandbox. Throws what the library throws. */
export function renderAsPython(template: string, context: Readonly<Record<string, unknown>>): string {
  const made = new Template(pythonStrings(template));
  rewriteStrips(made.parsed);
  return made.render({ ...context, [stripName]: strip });
}

// ---- what is stripped ------------------------------------------------------------------------------------------------

/** Nothing that a template can spell. */
const stripName = 'strip as Python';
const sides: ReadonlyMap<unknown, 'both' | 'left' | 'right'> = new Map([
  ['strip', 'both'],
  ['lstrip', 'left'],
  ['rstrip', 'right'],
]);

/** Calls of `strip`, `lstrip`, `rstrip` and the filter `trim`, wherever they stand, become calls of `strip` below. */
function rewriteStrips(node: unknown): void {
  if (typeof node !== 'object' || node === null) return;
  for (const child of node instanceof Map ? [...node.keys(), ...node.values()] : Object.values(node))
    rewriteStrips(child);
  const fields = node as Record<string, unknown>;
  const call = (text: unknown, side: string, characters: readonly unknown[]): void => {
    const args = [text, { type: 'StringLiteral', value: side }, ...characters];
    Object.assign(fields, { type: 'CallExpression', callee: { type: 'Identifier', value: stripName }, args });
  };
  if (fields['type'] === 'FilterExpression' && isNamed(fields['filter'], 'trim')) call(fields['operand'], 'both', []);
  if (fields['type'] !== 'CallExpression') return;
  const callee = fields['callee'] as Readonly<Record<string, unknown>>;
  const name = callee['type'] === 'MemberExpression' && callee['computed'] === false ? nameOf(callee['property']) : '';
  const side = sides.get(name);
  if (side !== undefined) call(callee['object'], side, fields['args'] as readonly unknown[]);
}

const nameOf = (node: unknown): unknown =>
  typeof node === 'object' && node !== null && 'type' in node && node.type === 'Identifier' && 'value' in node
    ? node.value
    : undefined;
const isNamed = (node: unknown, name: string): boolean => nameOf(node) === name;

function strip(text: unknown, side: 'both' | 'left' | 'right', characters: unknown): string {
  if (typeof text !== 'string') throw new TypeError('it strips what is no text');
  if (typeof characters !== 'string') return trimmed(text, side);
  const set = new Set(characters);
  return trimmed(text, side, (character) => set.has(character));
}

// ---- escapes ---------------------------------------------------------------------------------------------------------

/** What begins a comment, an expression or a statement. */
const opening = /\{#[\s\S]*?#\}|\{\{|\{%/g;
/** Inside of these: a string, a bracket of an object, an end. */
const inside = /'(?:\\[\s\S]|[^'\\])*'|"(?:\\[\s\S]|[^"\\])*"|%\}|\}\}|[{}]/g;

/** The template with its escapes written as the library knows them. */
function pythonStrings(template: string): string {
  let out = '';
  let at = 0;
  for (let found = next(opening, template, at); found !== undefined; found = next(opening, template, at)) {
    out += template.slice(at, found.end);
    at = found.end;
    if (found.text.startsWith('{#')) continue;
    for (let depth = 0, part = next(inside, template, at); part !== undefined; part = next(inside, template, at)) {
      // Of an object inside of an expression, the first bracket of `}}` closes it.
      const end = depth > 0 && part.text === '}}' ? part.end - 1 : part.end;
      const isString = part.text.startsWith("'") || part.text.startsWith('"');
      out += template.slice(at, part.start) + (isString ? known(part.text) : template.slice(part.start, end));
      at = end;
      if (depth === 0 && (part.text === '}}' || part.text === '%}')) break;
      if (part.text === '{') depth++;
      else if (part.text.startsWith('}')) depth--;
    }
  }
  return out + template.slice(at);
}

interface Found {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

function next(pattern: RegExp, text: string, from: number): Found | undefined {
  pattern.lastIndex = from;
  const found = pattern.exec(text);
  return found === null ? undefined : { text: found[0], start: found.index, end: found.index + found[0].length };
}

/** Escapes of Python's strings; what is none stays a backslash and its character. */
function known(literal: string): string {
  return literal.replaceAll(
    /\\(?:([0-7]{1,3})|U([\dA-Fa-f]{8})|([\s\S]))/g,
    (all, octal: string | undefined, long: string | undefined, character: string | undefined) => {
      if (octal !== undefined) return units(String.fromCodePoint(Number.parseInt(octal, 8)));
      if (long !== undefined) {
        const code = Number.parseInt(long, 16);
        return code > 0x10ffff ? `\\${all}` : units(String.fromCodePoint(code));
      }
      if (character === '\n') return '';
      if (character === 'a') return units('\u{7}');
      return /^[ntrbfvxu'"\\]$/.test(character ?? '') ? all : `\\${all}`;
    },
  );
}

const units = (text: string): string =>
  Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join('');
