// Tensors of a `.bin`, `.pt` or `.pth` file of `torch.save`: since PyTorch 1.6 a zip of one pickle and the storages.
import { sizeProduct } from '../../../dsl/axis/axes.ts';
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { OpabiniaError } from '../../../dsl/error.ts';
import { storedBytes, type StoredDType, type StoredTensor, type TensorFile } from '../safetensors.ts';
import { isBeforeZip, readBeforeZip, type Lying } from './before-zip.ts';
import { ForeignNameError, Global, PickleError, readPickle, type Call, type Value } from './pickle.ts';
import { readZipDirectory, ZipError, type ZipEntry } from './zip.ts';
import { readFully } from '../../files/read-fully.ts';

const storages: Readonly<Record<string, StoredDType>> = {
  'torch DoubleStorage': 'F64',
  'torch FloatStorage': 'F32',
  'torch HalfStorage': 'F16',
  'torch BFloat16Storage': 'BF16',
  'torch LongStorage': 'I64',
  'torch IntStorage': 'I32',
  'torch ByteStorage': 'U8',
  'torch BoolStorage': 'BOOL',
};
const rebuild = 'torch._utils _rebuild_tensor_v2';
const parameter = 'torch._utils _rebuild_parameter';
const allowed: ReadonlySet<string> = new Set([
  ...Object.keys(storages),
  rebuild,
  parameter,
  'collections OrderedDict',
  'torch Size',
]);

const mostPickle = 256 * 2 ** 20;
const mostTensors = 200_000;
const mostRank = 8;
/** Bytes over which the elements of one tensor may be spread. */
const mostSpread = 2 ** 31;
/** Bytes of all tensors for each byte of the file: several may share a storage, or repeat a part of it. */
const mostSharing = 64;
/** Where training scripts keep the weights among other things. */
const wrappers = ['state_dict', 'model_state_dict', 'model', 'module'];

/** A tensor and how its elements lie in its storage. */
interface Placed extends StoredTensor {
  /** In elements; undefined where the elements lie row by row. */
  readonly strides: readonly number[] | undefined;
}

export class PytorchFileError extends OpabiniaError {
  constructor(file: string, what: string, advice = 'the file is damaged or made to mislead; get it again') {
    super(`${file}: ${what}`, { op: 'pytorch', advice });
    this.name = 'PytorchFileError';
  }
}

/**
 * Opens a file and finds every tensor in it, without running anything: a pickle that names more than tensors and dictionaries is
 * refused. Throws `PytorchFileError`; nothing stays open then.
 */
export function openPytorchFile(path: string): TensorFile {
  const descriptor = open(path);
  try {
    const size = fstatSync(descriptor).size;
    const tensors = tensorsOf(path, descriptor, size);
    return {
      path,
      metadata: new Map(),
      tensors,
      readInto: (name, target, offset = 0) => {
        const tensor = tensors.get(name);
        if (tensor === undefined)
          throw new PytorchFileError(path, `has no tensor '${name}'`, 'look at the names it has');
        if (!Number.isSafeInteger(offset) || offset < 0 || offset + target.byteLength > tensor.bytes)
          throw new PytorchFileError(
            path,
            `bytes ${offset} to ${offset + target.byteLength} of '${name}' were asked for, but it has ${tensor.bytes}`,
            'ask for a range inside the tensor',
          );
        if (tensor.strides === undefined)
          readFully(
            descriptor,
            target,
            tensor.start + offset,
            (what, advice) => new PytorchFileError(path, what, advice),
          );
        else readStrided(path, descriptor, tensor, tensor.strides, target, offset);
      },
      close: () => closeSync(descriptor),
    };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function open(path: string): number {
  try {
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (fstatSync(descriptor).isFile()) return descriptor;
    closeSync(descriptor);
  } catch (cause) {
    throw new PytorchFileError(
      path,
      `cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`,
      'check the path',
    );
  }
  throw new PytorchFileError(path, 'is not a regular file', 'give the path of a .bin, .pt or .pth file');
}

function tensorsOf(path: string, descriptor: number, size: number): ReadonlyMap<string, Placed> {
  try {
    const { object, storages } = isBeforeZip(descriptor)
      ? readBeforeZip(descriptor, size, allowed, unitOf, mostPickle)
      : readZip(path, descriptor, size);
    return tensorsIn(weightsOf(object), size, storages);
  } catch (cause) {
    if (cause instanceof ForeignNameError)
      throw new PytorchFileError(
        path,
        `${cause.message}: it would have to be run to be read`,
        'save the weights alone where it came from: torch.save(model.state_dict(), …), or safetensors',
      );
    if (cause instanceof ZipError || cause instanceof PickleError) throw new PytorchFileError(path, cause.message);
    throw cause;
  }
}

type Storages = ReadonlyMap<string, Lying>;

function tensorsIn(weights: ReadonlyMap<Value, Value>, size: number, places: Storages): ReadonlyMap<string, Placed> {
  const found = new Map<string, Placed>();
  let bytes = 0;
  for (const [name, value] of weights) {
    const call = typeof name === 'string' ? tensorCall(value) : undefined;
    if (call === undefined) continue;
    if (found.size >= mostTensors) throw new PickleError(`names more than ${mostTensors} tensors`);
    const tensor = placed(String(name), call, places);
    bytes += tensor.bytes;
    if (bytes > mostSharing * size) throw new PickleError(`names tensors of over ${mostSharing} times its own size`);
    found.set(tensor.name, tensor);
  }
  if (found.size > 0) return found;
  const inner = [...weights].flatMap(([name, value]) => (value instanceof Map ? [`'${String(name)}'`] : []));
  throw new PickleError(
    `holds no tensors by name${inner.length === 0 ? '' : `, but dictionaries: ${inner.slice(0, 8).join(', ').slice(0, 200)}`}`,
  );
}

function readZip(
  path: string,
  descriptor: number,
  size: number,
): { readonly object: Value; readonly storages: Storages } {
  const entries = readZipDirectory(descriptor, size);
  const pickle = [...entries.values()].find((entry) => /^[^/]+\/data\.pkl$/.test(entry.name));
  if (pickle === undefined) throw new ZipError('has no data.pkl');
  if (pickle.bytes > mostPickle)
    throw new ZipError(`has a data.pkl of ${pickle.bytes} bytes; at most ${mostPickle} are accepted`);
  const root = pickle.name.slice(0, -'data.pkl'.length);
  const order = entries.get(`${root}byteorder`);
  if (order !== undefined && (order.bytes !== 6 || bytesOf(path, descriptor, order).toString('latin1') !== 'little'))
    throw new ZipError('was written on a big-endian machine');
  const data = `${root}data/`;
  const storages = [...entries].filter(([name]) => name.startsWith(data));
  return {
    object: readPickle(bytesOf(path, descriptor, pickle), allowed),
    storages: new Map(storages.map(([name, entry]) => [name.slice(data.length), entry])),
  };
}

function unitOf(storage: Value): number | undefined {
  const dtype = storage instanceof Global ? storages[storage.name] : undefined;
  return dtype === undefined ? undefined : storedBytes[dtype];
}

function bytesOf(path: string, descriptor: number, entry: ZipEntry): Buffer {
  const bytes = Buffer.alloc(entry.bytes);
  readFully(descriptor, bytes, entry.start, (what, advice) => new PytorchFileError(path, what, advice));
  return bytes;
}

/** The dictionary of weights: the root, or what it keeps them in, which may keep them in another. */
function weightsOf(root: Value): ReadonlyMap<Value, Value> {
  let map = root;
  // A dictionary may hold itself.
  for (let depth = 0; map instanceof Map && depth < 4; depth++) {
    const values = map;
    if ([...values.values()].some((value) => tensorCall(value) !== undefined)) return values;
    const inner = wrappers.map((name) => values.get(name)).find((value) => value instanceof Map);
    if (inner === undefined) return values;
    map = inner;
  }
  throw new PickleError('holds something other than a dictionary of tensors');
}

function isCall(value: Value): value is Call {
  return typeof value === 'object' && value !== null && 'of' in value;
}

/** The call that rebuilds a tensor, also inside of a parameter; undefined for anything else. */
function tensorCall(value: Value): Call | undefined {
  if (!isCall(value)) return undefined;
  if (value.of === rebuild) return value;
  const [inner = null] = value.with;
  return value.of === parameter ? tensorCall(inner) : undefined;
}

const isCount = (value: Value | undefined): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

function counts(value: Value | undefined): readonly number[] | undefined {
  const list: Value | undefined =
    value !== undefined && value !== null && isCall(value) && value.of === 'torch Size' ? value.with[0] : value;
  return Array.isArray(list) && (list as readonly Value[]).every(isCount) ? (list as readonly number[]) : undefined;
}

function placed(name: string, call: Call, places: Storages): Placed {
  const refuse = (what: string) => new PickleError(`tensor '${name.slice(0, 200)}' ${what}`);
  const [storage, offset, size, stride, , , marks] = call.with;
  // Of views that are negated or conjugated when they are read.
  if (marks instanceof Map && [...marks.values()].some(Boolean)) throw refuse('is a view that computes');
  const place = typeof storage === 'object' && storage !== null && 'persistent' in storage ? storage.persistent : null;
  const [what, type, key, , elements] = Array.isArray(place) ? (place as readonly Value[]) : [];
  if (what !== 'storage' || !(type instanceof Global) || typeof key !== 'string' || !isCount(elements))
    throw refuse('is in a storage that is not known');
  const dtype = storages[type.name];
  if (dtype === undefined) throw refuse(`is in a ${type.name}, which is not known`);
  const entry = places.get(key);
  if (entry === undefined) throw refuse('is in a storage that is not there');
  const [shape, strides] = [counts(size), counts(stride)];
  if (shape === undefined || strides === undefined || strides.length !== shape.length || !isCount(offset))
    throw refuse('has sizes that are not whole numbers');
  if (shape.length > mostRank) throw refuse(`has ${shape.length} axes; at most ${mostRank} are accepted`);
  const unit = storedBytes[dtype];
  const count = sizeProduct(shape);
  const last = count === 0 ? offset : shape.reduce((sum, n, i) => sum + (n - 1) * (strides[i] ?? 0), offset) + 1;
  if (!Number.isSafeInteger(count * unit) || last > elements || elements * unit > entry.bytes)
    throw refuse('reaches beyond its storage');
  const dense = shape.map((_, i) => sizeProduct(shape.slice(i + 1)));
  const isContiguous = shape.every((n, i) => n === 1 || count === 0 || strides[i] === dense[i]);
  if (!isContiguous && (last - offset) * unit > mostSpread) throw refuse('lies in pieces too far apart');
  return {
    name,
    dtype,
    shape,
    start: entry.start + offset * unit,
    bytes: count * unit,
    strides: isContiguous ? undefined : strides,
  };
}

/** Elements of a tensor that was saved as a view, such as a transposed one, in row-major order. */
function readStrided(
  path: string,
  descriptor: number,
  tensor: Placed,
  strides: readonly number[],
  target: Uint8Array,
  offset: number,
): void {
  const unit = storedBytes[tensor.dtype];
  const reach = tensor.shape.reduce((sum, n, i) => sum + (n - 1) * (strides[i] ?? 0), 0) + 1;
  const all = Buffer.alloc(reach * unit);
  readFully(descriptor, all, tensor.start, (what, advice) => new PytorchFileError(path, what, advice));
  for (let i = 0; i < target.byteLength; i++) {
    let element = Math.floor((offset + i) / unit);
    let from = 0;
    for (let axis = tensor.shape.length - 1; axis >= 0; axis--) {
      const n = tensor.shape[axis] ?? 1;
      from += (element % n) * (strides[axis] ?? 0);
      element = Math.floor(element / n);
    }
    target[i] = all[from * unit + ((offset + i) % unit)] ?? 0;
  }
}
