// A corpus of malformed safetensors files, each wrong in one way, made by hand from one good file.

export interface MalformedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A file of this header text and `dataBytes` zero bytes; `length` overrides the header length that is written. */
export function rawFile(header: string | Uint8Array, dataBytes: number, length?: bigint): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const out = new Uint8Array(8 + text.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  out.set(text, 8);
  return out;
}

const entry = (dtype: string, shape: string, begin: string | number, end: string | number) =>
  `{"dtype":${dtype},"shape":${shape},"data_offsets":[${begin},${end}]}`;
const one = (body: string) => `{"a":${body}}`;
/** Two tensors of 8 bytes: the good file that everything else is a mutation of. */
export const goodHeader = `{"a":${entry('"F32"', '[2]', 0, 8)},"b":${entry('"F32"', '[1,2]', 8, 16)}}`;

function lengths(): MalformedFile[] {
  const good = new TextEncoder().encode(goodHeader);
  const wrong: readonly (readonly [string, bigint])[] = [
    ['zero', 0n],
    ['one', 1n],
    ['one short', BigInt(good.length - 1)],
    ['one long', BigInt(good.length + 1)],
    ['whole file', BigInt(good.length + 16)],
    ['one beyond the file', BigInt(good.length + 17)],
    ['over the limit', 100_000_001n],
    ['2^32', 1n << 32n],
    ['2^53', 1n << 53n],
    ['2^53+2', (1n << 53n) + 2n],
    ['2^63', 1n << 63n],
    ['2^64-1', (1n << 64n) - 1n],
    ['2^64-8', (1n << 64n) - 8n],
  ];
  const cut = rawFile(goodHeader, 16);
  return [
    ...wrong.map(([name, length]) => ({ name: `length ${name}`, bytes: rawFile(goodHeader, 16, length) })),
    ...[0, 1, 4, 7, 8, 9, 20, 8 + good.length - 1, 8 + good.length, 8 + good.length + 1, cut.length - 1].map(
      (size) => ({ name: `cut to ${size} bytes`, bytes: cut.subarray(0, size) }),
    ),
    { name: 'one byte appended', bytes: rawFile(goodHeader, 17) },
    { name: 'eight bytes appended', bytes: rawFile(goodHeader, 24) },
  ];
}

function otherFormats(): MalformedFile[] {
  const of = (name: string, start: readonly number[]) => ({
    name,
    bytes: Uint8Array.from({ length: 64 }, (_, i) => start[i] ?? 0x41),
  });
  return [
    of('GGUF', [0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0]),
    of('zip', [0x50, 0x4b, 3, 4, 0, 0, 8, 8]),
    of('pickle 2', [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46]),
    of('pickle 4', [0x80, 4, 0x95, 0x10, 0, 0, 0, 1]),
    of('PNG', [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]),
    of(
      'text',
      [...'hello, w'].map((c) => c.charCodeAt(0)),
    ),
    of(
      'HTML',
      [...'<!DOCTYP'].map((c) => c.charCodeAt(0)),
    ),
  ];
}

function encodings(): MalformedFile[] {
  const invalid = (name: string, ...bytes: readonly number[]) => {
    const text = new TextEncoder().encode('{"__metadata__":{"k":"?"}}');
    const at = text.indexOf(0x3f);
    const spoilt = Uint8Array.from([...text.subarray(0, at), ...bytes, ...text.subarray(at + 1)]);
    return { name: `UTF-8 ${name}`, bytes: rawFile(spoilt, 0) };
  };
  return [
    invalid('lone continuation', 0x80),
    invalid('lone lead', 0xc3),
    invalid('overlong slash', 0xc0, 0xaf),
    invalid('surrogate half', 0xed, 0xa0, 0x80),
    invalid('above U+10FFFF', 0xf4, 0x90, 0x80, 0x80),
    invalid('0xff', 0xff),
    invalid('overlong zero', 0xe0, 0x80, 0x80),
    { name: 'byte order mark', bytes: rawFile(`\ufeff${goodHeader}`, 16) },
    { name: 'UTF-16', bytes: rawFile(new Uint8Array(Uint16Array.from(goodHeader, (c) => c.charCodeAt(0)).buffer), 16) },
  ];
}

function syntax(): MalformedFile[] {
  const headers: Readonly<Record<string, string>> = {
    'empty array': '[]',
    'array of the header': `[${goodHeader}]`,
    null: 'null',
    number: '12',
    string: '"{}"',
    'leading space': ` ${goodHeader}`,
    'leading newline': `\n${goodHeader}`,
    'trailing newline': `${goodHeader}\n`,
    'trailing tab': `${goodHeader}\t`,
    'trailing zero byte': `${goodHeader}\0`,
    'trailing brace': `${goodHeader}}`,
    'second object': `${goodHeader}${goodHeader}`,
    'trailing comma after object': `${goodHeader},`,
    unclosed: goodHeader.slice(0, -1),
    'trailing comma': `${goodHeader.slice(0, -1)},}`,
    'missing colon': goodHeader.replace('"a":', '"a"'),
    'missing comma': goodHeader.replace(',"b"', '"b"'),
    'double comma': goodHeader.replace(',"b"', ',,"b"'),
    'leading comma': goodHeader.replace('{"a"', '{,"a"'),
    'single quotes': goodHeader.replaceAll('"', "'"),
    'unquoted key': goodHeader.replace('"a"', 'a'),
    'number key': goodHeader.replace('"a"', '1'),
    comment: goodHeader.replace('{', '{/**/'),
    'line comment': goodHeader.replace('{', '{//\n'),
    NaN: one(entry('"F32"', '[NaN]', 0, 8)),
    Infinity: one(entry('"F32"', '[Infinity]', 0, 8)),
    undefined: one('undefined'),
    True: one('True'),
    hexadecimal: one(entry('"F32"', '[0x2]', 0, 8)),
    'leading zero': one(entry('"F32"', '[02]', 0, 8)),
    'plus sign': one(entry('"F32"', '[+2]', 0, 8)),
    'bare point': one(entry('"F32"', '[2.]', 0, 8)),
    'point first': one(entry('"F32"', '[.2]', 0, 8)),
    'bare exponent': one(entry('"F32"', '[2e]', 0, 8)),
    'underscore in number': one(entry('"F32"', '[1_0]', 0, 40)),
    'newline in string': '{"a\nb":1}',
    'zero byte in string': '{"a\0b":1}',
    'tab in string': '{"a\tb":1}',
    'unknown escape': '{"\\x41":1}',
    'short unicode escape': '{"\\u41":1}',
    'letters in unicode escape': '{"\\uzzzz":1}',
    'escape at the end': '{"a\\',
    'open string': '{"a',
    'lone high surrogate': `{"__metadata__":{"k":"\\ud800"}}`,
    'lone low surrogate': `{"__metadata__":{"k":"\\udc00"}}`,
    'surrogates reversed': `{"__metadata__":{"k":"\\udc00\\ud800"}}`,
    'number too large': one(entry('"F32"', '[1e400]', 0, 8)),
    'mismatched brackets': '{"a":[1}',
    'only a brace': '{',
    'brace and bracket': '{]',
    'nested too deep': `{"__metadata__":${'['.repeat(40)}${']'.repeat(40)}}`,
    'nested 100000 deep': `{"a":${'['.repeat(100_000)}`,
    'objects 100000 deep': '{"a":'.repeat(100_000),
  };
  return Object.entries(headers).map(([name, header]) => ({ name: `syntax: ${name}`, bytes: rawFile(header, 16) }));
}

function duplicates(): MalformedFile[] {
  const tensor = entry('"F32"', '[2]', 0, 8);
  const headers: Readonly<Record<string, string>> = {
    tensor: `{"a":${tensor},"a":${tensor}}`,
    'tensor, different': `{"a":${tensor},"a":${entry('"I32"', '[2]', 0, 8)}}`,
    'tensor by escape': `{"a":${tensor},"\\u0061":${tensor}}`,
    __proto__: `{"__proto__":${tensor},"__proto__":${tensor}}`,
    metadata: `{"__metadata__":{},"__metadata__":{},"a":${tensor}}`,
    'metadata key': `{"__metadata__":{"k":"1","k":"2"},"a":${tensor}}`,
    'empty name': `{"":${tensor},"":${tensor}}`,
    dtype: '{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    shape: '{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}',
    data_offsets: '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]}}',
  };
  return Object.entries(headers).map(([name, header]) => ({ name: `duplicate: ${name}`, bytes: rawFile(header, 8) }));
}

function entries(): MalformedFile[] {
  const bodies: Readonly<Record<string, string>> = {
    null: 'null',
    number: '1',
    string: '"F32"',
    array: '["F32",[2],[0,8]]',
    empty: '{}',
    'no dtype': '{"shape":[2],"data_offsets":[0,8]}',
    'no shape': '{"dtype":"F32","data_offsets":[0,8]}',
    'no offsets': '{"dtype":"F32","shape":[2]}',
    'unknown field': '{"dtype":"F32","shape":[2],"data_offsets":[0,8],"extra":1}',
    'field __proto__': '{"dtype":"F32","shape":[2],"data_offsets":[0,8],"__proto__":{}}',
    'offsets misspelt': '{"dtype":"F32","shape":[2],"offsets":[0,8]}',
    'upper case field': '{"DTYPE":"F32","shape":[2],"data_offsets":[0,8]}',
  };
  const dtypes = [
    'null',
    '32',
    '["F32"]',
    '{"F32":1}',
    'true',
    '""',
    '"f32"',
    '"F33"',
    '"float32"',
    '"F32 "',
    '" F32"',
    '"F32\\u0000"',
    '"toString"',
    '"__proto__"',
    '"constructor"',
    '"F8_E4M3"',
    '"F8_E5M2"',
    '"F4"',
    '"U64"',
    '"C64"',
    '"I16"',
    '"STRING"',
  ];
  const shapes = [
    'null',
    '2',
    '"2"',
    '{"0":2}',
    '[2.5]',
    '[-2]',
    '[-0]',
    '[1e-3]',
    '["2"]',
    '[null]',
    '[true]',
    '[[2]]',
    '[{}]',
    '[9007199254740992]',
    '[9007199254740993]',
    '[18446744073709551615]',
    '[4294967296,4294967296]',
    '[9007199254740991,2]',
    '[1,1,1,1,1,1,1,1,2]',
    '[0,9007199254740991,9007199254740991]',
    '[1]',
    '[3]',
    '[2,2]',
    '[]',
    '[0]',
  ];
  const offsets: readonly (readonly [string, string])[] = [
    ['null', 'null'],
    ['number', '8'],
    ['string', '"0,8"'],
    ['empty', '[]'],
    ['one', '[0]'],
    ['three', '[0,8,8]'],
    ['object', '{"0":0,"1":8}'],
    ['fraction', '[0.5,8.5]'],
    ['negative', '[-8,0]'],
    ['both negative', '[-16,-8]'],
    ['minus zero', '[-0,8]'],
    ['reversed', '[8,0]'],
    ['texts', '["0","8"]'],
    ['nulls', '[null,null]'],
    ['nested', '[[0],[8]]'],
    ['hole before', '[8,16]'],
    ['short', '[0,4]'],
    ['long', '[0,16]'],
    ['beyond the file', '[0,80]'],
    ['huge', '[9007199254740983,9007199254740991]'],
    ['over 2^53', '[9007199254740992,9007199254741000]'],
    ['2^64', '[0,18446744073709551616]'],
    ['wraps 2^32', '[4294967296,4294967304]'],
    ['wraps 2^64', '[18446744073709551608,8]'],
  ];
  return [
    ...Object.entries(bodies).map(([name, body]) => ({ name: `entry: ${name}`, bytes: rawFile(one(body), 8) })),
    ...dtypes.map((dtype) => ({ name: `dtype ${dtype}`, bytes: rawFile(one(entry(dtype, '[2]', 0, 8)), 8) })),
    ...shapes.map((shape) => ({ name: `shape ${shape}`, bytes: rawFile(one(entry('"F32"', shape, 0, 8)), 8) })),
    ...offsets.map(([name, range]) => ({
      name: `offsets ${name}`,
      bytes: rawFile(`{"a":{"dtype":"F32","shape":[2],"data_offsets":${range}}}`, 8),
    })),
  ];
}

function layouts(): MalformedFile[] {
  const pair = (a: readonly [number, number], b: readonly [number, number]) =>
    `{"a":${entry('"F32"', `[${(a[1] - a[0]) / 4}]`, a[0], a[1])},"b":${entry('"F32"', `[${(b[1] - b[0]) / 4}]`, b[0], b[1])}}`;
  const cases: readonly (readonly [string, string, number])[] = [
    ['overlap by half', pair([0, 8], [4, 12]), 12],
    ['same range twice', pair([0, 8], [0, 8]), 8],
    ['one inside the other', pair([0, 16], [4, 8]), 16],
    ['hole between', pair([0, 8], [12, 20]), 20],
    ['hole at the start', pair([4, 12], [12, 20]), 20],
    ['end missing', pair([0, 8], [8, 16]), 12],
    ['bytes after the last', pair([0, 8], [8, 16]), 20],
    ['overlap, order reversed', pair([4, 12], [0, 8]), 12],
    ['hole, order reversed', pair([12, 20], [0, 8]), 20],
    ['empty tensor inside another', pair([0, 8], [4, 4]), 8],
    ['empty tensor beyond the end', pair([0, 8], [12, 12]), 8],
    ['no tensors, but data', '{}', 8],
    ['metadata alone, but data', '{"__metadata__":{}}', 1],
    ['U8 too long', one(entry('"U8"', '[3]', 0, 4)), 4],
    ['F64 as F32', one(entry('"F64"', '[2]', 0, 8)), 8],
    ['F16 as F32', one(entry('"F16"', '[2]', 0, 8)), 8],
    ['scalar of 8 bytes', one(entry('"F32"', '[]', 0, 8)), 8],
  ];
  return cases.map(([name, header, size]) => ({ name: `layout: ${name}`, bytes: rawFile(header, size) }));
}

function metadata(): MalformedFile[] {
  const values = [
    'null',
    '1',
    '"text"',
    '[]',
    '{"k":1}',
    '{"k":null}',
    '{"k":true}',
    '{"k":["v"]}',
    '{"k":{"l":"v"}}',
    '{"__proto__":{}}',
  ];
  return values.map((value) => ({ name: `metadata ${value}`, bytes: rawFile(`{"__metadata__":${value}}`, 0) }));
}

/** Every file here must be refused. */
export const malformedFiles: readonly MalformedFile[] = [
  ...lengths(),
  ...otherFormats(),
  ...encodings(),
  ...syntax(),
  ...duplicates(),
  ...entries(),
  ...layouts(),
  ...metadata(),
];
