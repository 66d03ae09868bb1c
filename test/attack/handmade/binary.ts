// Graph texts, pickles, tokenizer models and pictures that are wrong in one way; and the safetensors that `test/runtime` has.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { parse } from '../../../dsl/text/parse.ts';
import { openPytorchFile } from '../../../runtime/checkpoint/pytorch/pytorch-file.ts';
import { openSafetensors } from '../../../runtime/checkpoint/safetensors.ts';
import { decodeImage } from '../../../runtime/image/image.ts';
import { sentencePieceJson } from '../../../runtime/text/sentencepiece.ts';
import { malformedFiles } from '../../runtime/malformed-headers.ts';
import { faults, type Fault } from './fault.ts';

const golden = (name: string): Buffer => readFileSync(join(import.meta.dirname, '../../golden', name));

const headers: readonly Fault[] = malformedFiles.map(({ name, bytes }) => ({
  name: `safetensors: ${name}`,
  take: (folder) => {
    const path = join(folder, 'x.safetensors');
    writeFileSync(path, bytes);
    openSafetensors(path).close();
  },
}));

const x = '%0 = input name=x : f32[a:2 b:3]';
const graphs: readonly Fault[] = faults(
  'graph',
  {
    'no head': `${x}\nreturn y=%0`,
    'no return': `graph\n${x}`,
    'an unknown op': `graph\n${x}\n%1 = explode %0 : f32[a:2 b:3]\nreturn y=%1`,
    'an op that every object has': `graph\n${x}\n%1 = constructor %0 : f32[a:2 b:3]\nreturn y=%1`,
    'a node that is not there': `graph\n${x}\n%1 = exp %7 : f32[a:2 b:3]\nreturn y=%1`,
    'a node that comes later': `graph\n%0 = exp %1 : f32[a:2]\n%1 = input name=x : f32[a:2]\nreturn y=%0`,
    'a node that reads itself': `graph\n%0 = exp %0 : f32[a:2]\nreturn y=%0`,
    'a node twice': `graph\n${x}\n%0 = input name=z : f32[a:2]\nreturn y=%0`,
    'an output that is not there': `graph\n${x}\nreturn y=%9`,
    'an output twice': `graph\n${x}\nreturn y=%0 y=%0`,
    'an unknown dtype': 'graph\n%0 = input name=x : f99[a:2]\nreturn y=%0',
    'a dtype that every object has': 'graph\n%0 = input name=x : toString[a:2]\nreturn y=%0',
    'an axis twice': 'graph\n%0 = input name=x : f32[a:2 a:3]\nreturn y=%0',
    'an axis without a size': 'graph\n%0 = input name=x : f32[a]\nreturn y=%0',
    'a size of 1.5': 'graph\n%0 = input name=x : f32[a:1.5]\nreturn y=%0',
    'a size below 0': 'graph\n%0 = input name=x : f32[a:-1]\nreturn y=%0',
    'a symbol that is not declared': 'graph\n%0 = input name=x : f32[a:n]\nreturn y=%0',
    'a symbol without a bound': 'graph (n)\n%0 = input name=x : f32[a:n]\nreturn y=%0',
    'an input without a name': 'graph\n%0 = input : f32[a:2]\nreturn y=%0',
    'a type that is not the result': `graph\n${x}\n%1 = exp %0 : f32[a:2]\nreturn y=%1`,
    'a dtype that is not the result': `graph\n${x}\n%1 = exp %0 : i32[a:2 b:3]\nreturn y=%1`,
    'an operand too few': `graph\n${x}\n%1 = add %0 : f32[a:2 b:3]\nreturn y=%1`,
    'an operand too many': `graph\n${x}\n%1 = exp %0 %0 : f32[a:2 b:3]\nreturn y=%1`,
    'operands that do not broadcast': `graph\n${x}\n%1 = input name=z : f32[a:3]\n%2 = add %0 %1 : f32[a:2 b:3]\nreturn y=%2`,
    'constants that are too few': 'graph\n%0 = const values=<1 2> : f32[a:3]\nreturn y=%0',
    'constants that are texts': 'graph\n%0 = const values=<a b> : f32[a:2]\nreturn y=%0',
    'constants without end': 'graph\n%0 = const values=<1*1000000000000> : f32[a:2]\nreturn y=%0',
    'a bracket that stays open': 'graph\n%0 = input name=x : f32[a:2\nreturn y=%0',
    bytes: 'graph\n\u0000\u0001\u0002\nreturn y=%0',
    'something behind the end': `graph\n${x}\nreturn y=%0\nand more`,
    'a size of 2⁶⁴': 'graph\n%0 = input name=x : f32[a:18446744073709551616]\nreturn y=%0',
  },
  (text) => parse(text),
);

/** What a pickle may not call, as the name and the module that it would be loaded by. */
const names = [
  'os system',
  'posix system',
  'nt system',
  'builtins eval',
  'builtins exec',
  'builtins getattr',
  'sys exit',
  'shutil rmtree',
  'pickle loads',
  'types CodeType',
  'codecs encode',
  '_codecs encode',
  'operator call',
  'torch load',
  'torch jit',
  '__proto__ x',
  'functools x',
] as const;

const pickles: readonly Fault[] = [
  ...faults('pickle that names', Object.fromEntries(names.map((name) => [name, name])), (name, folder) => {
    const bytes = golden('pytorch/state-dict.bin');
    const at = bytes.indexOf('ctorch._utils\n_rebuild_tensor_v2\n');
    bytes.write(`c${name.replace(' ', '\n')}\n`.padEnd(34, ' '), at, 'latin1');
    const path = join(folder, 'x.bin');
    writeFileSync(path, bytes);
    openPytorchFile(path).close();
  }),
  ...faults<Uint8Array>(
    'PyTorch file',
    {
      'of modules': golden('pytorch/module.pt'),
      'before PyTorch 1.6, without its end': golden('pytorch/before-1.6.bin').subarray(0, -1),
      'before PyTorch 1.6, without its storages': golden('pytorch/before-1.6.bin').subarray(0, 1200),
      empty: new Uint8Array(),
      'of zeros': new Uint8Array(4096),
      'a bare pickle': Buffer.from('\u0080\u0002}q\u0000.', 'latin1'),
      ...Object.fromEntries(
        [1, 2, 4, 8, 16].map((part) => {
          const bytes = golden('pytorch/state-dict.bin');
          return [`cut to 1/${part + 1}`, bytes.subarray(0, Math.floor(bytes.length / (part + 1)))];
        }),
      ),
    },
    (bytes, folder) => {
      const path = join(folder, 'x.bin');
      writeFileSync(path, bytes);
      openPytorchFile(path).close();
    },
  ),
];

const pieces: readonly Fault[] = faults<Uint8Array>(
  'tokenizer.model',
  {
    empty: new Uint8Array(),
    'a text': Buffer.from('this is not a protocol buffer at all'),
    'a field longer than the file': Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0x7f),
    'a length without end': Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
    'an end inside of a piece': golden('sentencepiece/bpe.model').subarray(0, 1000),
  },
  (bytes) => sentencePieceJson(bytes, {}, {}, 'tokenizer.model'),
);

const pixels = { create: { width: 33, height: 27, channels: 3, background: 'red' } } as const;
const encoders = {
  PNG: () => sharp(pixels).png().toBuffer(),
  JPEG: () => sharp(pixels).jpeg().toBuffer(),
  WebP: () => sharp(pixels).webp().toBuffer(),
} as const;

const pictures: readonly Fault[] = [
  ...Object.entries(encoders).flatMap(([kind, encode]) =>
    faults(
      kind,
      Object.fromEntries([0, 0.02, 0.1, 0.3, 0.5, 0.7].map((part) => [`cut to ${part * 100} %`, part])),
      async (part) => {
        const bytes = await encode();
        return decodeImage(bytes.subarray(0, Math.floor(bytes.length * part)));
      },
    ),
  ),
  ...faults<string | Uint8Array>(
    'picture',
    {
      'a text': 'not a picture',
      HTML: '<!DOCTYPE html><html></html>',
      'SVG that reads a file':
        '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd" width="9" height="9"/></svg>',
      PDF: '%PDF-1.7\n1 0 obj\n',
      zeros: new Uint8Array(1000),
      'a PNG of 0 × 0': Buffer.from('89504e470d0a1a0a0000000d4948445200000000000000000802000000', 'hex'),
      'a PNG of 2³¹ × 2³¹': Buffer.from('89504e470d0a1a0a0000000d494844527fffffff7fffffff0802000000', 'hex'),
    },
    (bytes) => decodeImage(Buffer.from(bytes)),
  ),
];

export const binaryFaults: readonly Fault[] = [...headers, ...graphs, ...pickles, ...pieces, ...pictures];
