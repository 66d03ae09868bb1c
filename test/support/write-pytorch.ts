// Files of PyTorch written for tests: a pickle put together from its instructions, and its storages, in a zip.

export const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([Buffer.from('X'), length, bytes]);
};

/** LONG1, of eight bytes. */
export const whole = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(value));
  return Buffer.concat([Buffer.from([0x8a, 8]), bytes]);
};

export const named = (name: string): Buffer => Buffer.from(`c${name.replace(' ', '\n')}\n`);
export const tuple = (...items: readonly Buffer[]): Buffer =>
  Buffer.concat([Buffer.from('('), ...items, Buffer.from('t')]);
export const dictionary = (...pairs: readonly (readonly [string, Buffer])[]): Buffer =>
  Buffer.concat([Buffer.from('}('), ...pairs.flatMap(([key, value]) => [text(key), value]), Buffer.from('u')]);
export const yes = Buffer.from([0x88]);
const [no, none] = [Buffer.from([0x89]), Buffer.from('N')];

export interface TensorToPickle {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset?: number;
  readonly key?: string;
  /** f32 values of its storage. */
  readonly elements: number;
  /** What `torch._neg_view` and its like are saved with. */
  readonly marks?: Buffer;
}

export function tensor({ shape, strides, offset = 0, key = '0', elements, marks }: TensorToPickle): Buffer {
  const storage = tuple(text('storage'), named('torch FloatStorage'), text(key), text('cpu'), whole(elements));
  const given = [
    Buffer.concat([storage, Buffer.from('Q')]),
    whole(offset),
    tuple(...shape.map(whole)),
    tuple(...strides.map(whole)),
    no,
    none,
    ...(marks === undefined ? [] : [marks]),
  ];
  return Buffer.concat([named('torch._utils _rebuild_tensor_v2'), tuple(...given), Buffer.from('R')]);
}

export const pickle = (value: Buffer): Buffer => Buffer.concat([Buffer.from([0x80, 2]), value, Buffer.from('.')]);

/** The zip of `torch.save`: nothing in it is checked by a sum. */
export function pytorchBytes(value: Buffer, storages: Readonly<Record<string, Float32Array>>): Buffer {
  const entries = [
    ['x/data.pkl', pickle(value)] as const,
    ...Object.entries(storages).map(([key, values]) => [`x/data/${key}`, Buffer.from(values.buffer)] as const),
  ];
  const chunks: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, bytes] of entries) {
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const record = Buffer.alloc(46);
    record.writeUInt32LE(0x02014b50, 0);
    record.writeUInt32LE(bytes.length, 20);
    record.writeUInt32LE(bytes.length, 24);
    record.writeUInt16LE(name.length, 28);
    record.writeUInt32LE(at, 42);
    chunks.push(local, Buffer.from(name), bytes);
    directory.push(record, Buffer.from(name));
    at += 30 + name.length + bytes.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...chunks, listed, end]);
}

/** The end of a zip whose directory has so many bytes, from byte 0 on; it stands at byte `at`. */
export function zipEnd64(bytes: number, at: number): Buffer {
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(1n, 32);
  record.writeBigUInt64LE(BigInt(bytes), 40);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(at), 8);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(0xffff, 10);
  end.writeUInt32LE(0xffffffff, 12);
  end.writeUInt32LE(0xffffffff, 16);
  return Buffer.concat([record, locator, end]);
}
