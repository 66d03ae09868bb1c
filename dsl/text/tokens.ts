// The words of a graph's text form, in chevrotain.
import { createToken, Lexer, type TokenType } from 'chevrotain';

// Reserved words come before Word; a longer word that starts with one is still a word.
export const Word = createToken({
  name: 'Word',
  label: 'a name',
  pattern: /[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*/,
});
const keyword = (text: string): TokenType =>
  createToken({ name: `Word_${text}`, label: `'${text}'`, pattern: text, longer_alt: Word });
const mark = (name: string, text: string): TokenType => createToken({ name, label: `'${text}'`, pattern: text });

export const [Graph, Return, Update, At, True, False, NaNWord, InfinityWord] = [
  'graph',
  'return',
  'update',
  'at',
  'true',
  'false',
  'NaN',
  'Infinity',
].map(keyword) as [TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType, TokenType];
export const Text = createToken({
  name: 'Text',
  label: 'a quoted name',
  pattern: /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"/,
});
export const Reference = createToken({ name: 'Reference', label: "a value such as '%3'", pattern: /%[A-Za-z0-9_]+/ });
// The 2 of 2n: a whole number with a name right behind it; 2e5 and 2e+21 are numbers.
export const Times = createToken({
  name: 'Times',
  label: 'a coefficient',
  pattern: /\d+(?=(?![eE][+-]?\d)[A-Za-z_"])/,
});
export const Digits = createToken({ name: 'Digits', label: 'a number', pattern: /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/ });
export const AtMost = mark('AtMost', '<=');
export const [Less, Greater, OpenList, CloseList, OpenRecord, CloseRecord, Open, Close] = [
  mark('Less', '<'),
  mark('Greater', '>'),
  mark('OpenList', '['),
  mark('CloseList', ']'),
  mark('OpenRecord', '{'),
  mark('CloseRecord', '}'),
  mark('Open', '('),
  mark('Close', ')'),
];
export const [Is, Colon, Comma, Semicolon, Plus, Minus, Star] = [
  mark('Is', '='),
  mark('Colon', ':'),
  mark('Comma', ','),
  mark('Semicolon', ';'),
  mark('Plus', '+'),
  mark('Minus', '-'),
  mark('Star', '*'),
];
const Space = createToken({ name: 'Space', pattern: /\s+/, group: Lexer.SKIPPED });
const Comment = createToken({ name: 'Comment', pattern: /#[^\n]*/, group: Lexer.SKIPPED });

export const tokens: TokenType[] = [
  Space,
  Comment,
  Text,
  Reference,
  Graph,
  Return,
  Update,
  At,
  True,
  False,
  NaNWord,
  InfinityWord,
  Word,
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
];

// ---- syntax tree ------------------------------------------------------------------------------------------------
