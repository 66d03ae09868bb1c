// Kernels and memory to a Plan: buffers with their roles, lifetimes placed in arenas, access modes, WGSL of each distinct kernel once.
import { elementsOf } from '../../dsl/axis/axes.ts';
import type { SizeSymbol } from '../../dsl/axis/axis.ts';
import { dtypeBytes, toBytes } from '../../dsl/graph/elements.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { describe, roleOf, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { print } from '../../dsl/text/print.ts';
import type { TensorType } from '../../dsl/graph/op.ts';
import type { Assembly } from './assemble.ts';
import { emit, type Access } from '../kernel/emit.ts';
import { formulaOf } from '../index/formula-of.ts';
import { sizeIndex } from '../index/index-math.ts';
import { bindingsOf, unitBytes, type Kernel, type Stmt } from '../kernel/kernel.ts';
import type { SplitGraph } from '../rewrite/load-time.ts';
import { planMemory, type Lifetime, type MemoryPlan } from './memory.ts';
import type { Plan, PlanAxis, PlanBinding, PlanBuffer, PlanDispatch, PlanKernel, PlanTensor } from '../plan.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { wholeOf, type Storage } from '../kernel/storage.ts';
import { nameOf, valuesOf } from '../../dsl/ops/source.ts';
import type { Step } from './kernel-order.ts';

interface Place {
  readonly buffer: number;
  readonly offset: number;
}

export function makePlan(
  { main: graph, load: loadGraph }: SplitGraph,
  load: Assembly,
  main: Assembly,
  symbols: readonly SizeSymbol[],
  inputNodes: readonly Node[],
  profile: DeviceProfile,
  options: { readonly states?: Plan | undefined } = {},
): Plan {
  const buffers: PlanBuffer[] = [];
  const places = new Map<Storage, Place>();
  const byName = new Map<string, number>();
  const add = (buffer: PlanBuffer): number => {
    if (buffer.bytes > profile.maxBufferBytes) {
      throw new OpabiniaError(
        `the ${buffer.role} '${buffer.name}' needs ${buffer.bytes} bytes, the device allows ${profile.maxBufferBytes} in a buffer`,
        { advice: 'shrink the batch or the largest axis, or use f16' },
      );
    }
    return buffers.push(buffer) - 1;
  };
  const named = (key: string, make: () => PlanBuffer): number => {
    const known = byName.get(key);
    if (known !== undefined) return known;
    const index = add(make());
    byName.set(key, index);
    return index;
  };

  // Sources, outputs: a buffer each.
  const readByMain = new Set([...main.sources.keys()].filter((n) => roleOf(n) === 'param').map((n) => nameOf(n)));
  const inputs: PlanTensor[] = [];
  const parameters = new Map<string, PlanTensor>();
  const states = new Map<string, PlanTensor>();
  for (const node of inputNodes) {
    const name = nameOf(node);
    const buffer = named(`input ${name}`, () => ({ name, role: 'input', bytes: vectorBytes(node.type) }));
    inputs.push(tensor(name, node.type, buffer));
  }
  for (const assembly of [load, main]) {
    const ranges = [...assembly.sources].filter(([, storage]) => storage.within !== undefined);
    const packs = new Map<Storage, string>();
    for (const [node, { within }] of ranges)
      if (within !== undefined)
        packs.set(within.storage, `${packs.get(within.storage) ?? ''}${within.start} ${nameOf(node)}\n`);
    for (const [node, storage] of assembly.sources) {
      if (storage.within !== undefined) continue;
      const role = bufferRole(node);
      const name = role === 'constant' ? storage.name : nameOf(node);
      const bytes = vectorBytes(node.type);
      const key = role === 'constant' ? `constant ${node.id}` : `${role} ${name}`;
      const transient = role === 'parameter' && !readByMain.has(name);
      const pack = packs.get(storage);
      const like = role === 'state' ? options.states?.states.find((tensor) => tensor.name === name) : undefined;
      const shared = like === undefined ? undefined : options.states?.buffers[like.buffer];
      if (like !== undefined && shared !== undefined) {
        const buffer = named(`state ${shared.name}`, () => shared);
        places.set(storage, { buffer, offset: like.offset });
        states.set(name, { ...tensor(name, node.type, buffer), offset: like.offset });
        continue;
      }
      const buffer = named(key, () => ({
        name,
        role,
        bytes,
        ...(pack === undefined ? {} : { origin: pack }),
        ...(transient ? { transient } : {}),
        ...(role === 'constant' ? { contents: contentsOf(node) } : {}),
        ...(role === 'loaded' ? { origin: originText(loadGraph, name) } : {}),
      }));
      places.set(storage, { buffer, offset: 0 });
      if (role === 'parameter') parameters.set(name, tensor(name, node.type, buffer));
      if (role === 'state' && pack === undefined) states.set(name, tensor(name, node.type, buffer));
    }
    for (const [node, storage] of ranges) {
      if (storage.within === undefined) continue;
      const { buffer } = must(places.get(storage.within.storage));
      const offset = storage.within.start * dtypeBytes(storage.dtype);
      places.set(storage, { buffer, offset });
      states.set(nameOf(node), { ...tensor(nameOf(node), node.type, buffer), offset });
    }
  }
  for (const [name, storage] of load.outputs) {
    places.set(storage, {
      buffer: named(`loaded ${name}`, () => ({
        name,
        role: 'loaded',
        bytes: vectorBytes(storage),
        origin: originText(loadGraph, name),
      })),
      offset: 0,
    });
  }
  const outputs: PlanTensor[] = [];
  for (const [name, storage] of main.outputs) {
    const known = places.get(storage);
    const buffer = known?.buffer ?? add({ name, role: 'output', bytes: vectorBytes(storage) });
    places.set(storage, { buffer, offset: 0 });
    outputs.push(tensor(name, storage, buffer));
  }
  for (const update of graph.updates) {
    const name = nameOf(update.state);
    if (!states.has(name)) throw new TypeError(`the state '${name}' is written but stands nowhere`);
  }

  // Everything else lives in arenas.
  placeInArenas(load.steps, places, add, profile, 'load arena', true);
  const mainMemory = placeInArenas(main.steps, places, add, profile, 'arena', false);
  const symbolNames = symbols.map((s) => s.name);
  const symbolBuffer =
    symbols.length === 0
      ? undefined
      : add({ name: 'symbols', role: 'symbols', bytes: Math.max(16, 4 * symbols.length) });

  const kernels: PlanKernel[] = [];
  const kernelIndex = new Map<string, number>();
  /** Kernels by the bodies that they have in common with others: a text is written once for each way of access. */
  const ofBodies = new Map<string, number>();
  const bodies = new Map<readonly Stmt[], number>();
  const bodyOf = (body: readonly Stmt[]): number => {
    const known = bodies.get(body) ?? bodies.size;
    bodies.set(body, known);
    return known;
  };
  /** A body has the slots and the workgroup memory of its kernel: beside it, a dispatch of several says where each part begins, and what it calls them. */
  const madeOf = ({ body, parts }: Kernel): string =>
    parts === undefined
      ? String(bodyOf(body))
      : parts
          .map((part) => `${bodyOf(part.body)} ${part.from} ${part.grid?.join() ?? ''} ${[...part.names].join()}`)
          .join('|');
  const dispatch = (step: Step): PlanDispatch => {
    const { slots } = step.kernel;
    const written = new Set(slots.filter((s) => s.write).map((s) => must(places.get(s.storage)).buffer));
    const access: Access = slots.map((s) => (written.has(must(places.get(s.storage)).buffer) ? 'read_write' : 'read'));
    const kernel = indexOf(step.kernel, access);
    const made = must(kernels[kernel]);
    const bindings: PlanBinding[] = slots.flatMap((s) => {
      const place = must(places.get(s.storage));
      const whole = vectorBytes(s.storage);
      const piece = s.piece === undefined ? whole : s.piece * unitBytes(s);
      return Array.from({ length: bindingsOf(s) }, (_, i) => ({
        buffer: place.buffer,
        offset: place.offset + i * piece,
        bytes: Math.min(piece, whole - i * piece),
      }));
    });
    if (made.access.length > bindings.length && symbolBuffer !== undefined)
      bindings.push({ buffer: symbolBuffer, offset: 0, bytes: must(buffers[symbolBuffer]).bytes });
    refuseOverLimit(step, made, bindings, profile);
    const [x, y, z] = step.kernel.grid;
    const moved = new Map(slots.map((s) => [s.storage, vectorBytes(s.storage)]));
    return {
      kernel,
      bindings,
      grid: [formulaOf(x), formulaOf(y), formulaOf(z)],
      path: step.path,
      label: step.label,
      flops: step.flops,
      ...(step.shares === undefined ? {} : { shares: step.shares }),
      bytes: [...moved.values()].reduce((a, b) => a + b, 0),
    };
  };
  const indexOf = (kernel: Kernel, access: Access): number => {
    const own = `${madeOf(kernel)}\n${access.join()}`;
    const found = ofBodies.get(own);
    if (found !== undefined) return found;
    const made = emit(kernel, access, symbolNames, `k${kernels.length}`, choicesOf(profile).loadsUnrolled);
    const key = `${made.access.join()}\n${made.wgsl}`;
    const index = kernelIndex.get(key) ?? kernels.push(made) - 1;
    kernelIndex.set(key, index);
    ofBodies.set(own, index);
    return index;
  };
  const loadDispatches = load.steps.map(dispatch);
  const dispatches = main.steps.map(dispatch);

  const bytesIn = (...roles: readonly PlanBuffer['role'][]) =>
    buffers
      .filter((b) => roles.includes(b.role) && !(b.role === 'arena' && b.transient === true))
      .reduce((sum, b) => sum + b.bytes, 0);
  return {
    version: 1,
    symbols: symbols.map(({ name, least, bound }) => ({ name, least, bound })),
    buffers,
    kernels,
    inputs,
    outputs,
    parameters: [...parameters.values()],
    states: [...states.values()],
    load: loadDispatches,
    dispatches,
    memory: {
      parameters: bytesIn('parameter', 'constant'),
      loaded: bytesIn('loaded'),
      states: bytesIn('state'),
      inputsAndOutputs: bytesIn('input', 'output'),
      activations: bytesIn('arena'),
      liveBound: mainMemory.liveBound,
    },
  };
}

/** Equal text is equal content: nodes are printed with all their attributes. */
function originText(load: Graph, name: string): string {
  return print({ outputs: new Map([['it', must(load.outputs.get(name))]]), updates: [] });
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('a value has no place in memory');
  return value;
}

function bufferRole(node: Node): PlanBuffer['role'] {
  const role = roleOf(node);
  switch (role) {
    case 'input':
    case 'state':
    case 'loaded':
    case 'constant':
      return role;
    case 'param':
      return 'parameter';
    case 'index':
    case 'extent':
    case undefined:
      throw new TypeError(`${describe(node)} has no buffer: it is computed where it is read`);
    default:
      return role satisfies never;
  }
}

/** Bytes of a tensor at the bound of its symbols, in whole vectors. */
function vectorBytes(type: Pick<TensorType, 'axes' | 'dtype'>): number {
  return Math.max(16, Math.ceil((elementsOf(type.axes) * dtypeBytes(type.dtype)) / 16) * 16);
}

function tensor(name: string, type: Pick<TensorType, 'axes' | 'dtype'>, buffer: number): PlanTensor {
  const axes: PlanAxis[] = type.axes.map((a) => ({ name: a.name, size: formulaOf(sizeIndex(a.size)) }));
  return { name, dtype: type.dtype, axes, buffer, offset: 0 };
}

/** The bytes of an array constant, in base64. */
function contentsOf(node: Node): string {
  const values = valuesOf(node);
  if (values === undefined) throw new TypeError(`the source '${node.op.name}' has no values`);
  const stored = toBytes(values, node.type.dtype);
  let text = '';
  const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function placeInArenas(
  steps: readonly Step[],
  places: Map<Storage, Place>,
  add: (buffer: PlanBuffer) => number,
  profile: DeviceProfile,
  name: string,
  transient: boolean,
): MemoryPlan {
  const index = new Map<Storage, number>();
  const values: { storage: Storage; bytes: number; from: number; to: number }[] = [];
  const ranges = new Set<Storage>();
  steps.forEach((step, at) => {
    for (const slot of step.kernel.slots) {
      if (places.has(slot.storage)) continue;
      const storage = wholeOf(slot.storage);
      if (storage !== slot.storage) {
        ranges.add(slot.storage);
        // Of an output.
        if (places.has(storage)) continue;
      }
      const known = index.get(storage);
      const value = known === undefined ? undefined : values[known];
      if (value !== undefined) value.to = at;
      else index.set(storage, values.push({ storage, bytes: vectorBytes(storage), from: at, to: at }) - 1);
    }
  });
  const apart: [number, number][] = [];
  const strict: [number, number][] = [];
  for (const { kernel } of steps) {
    const own = (write: boolean) =>
      kernel.slots.filter((s) => s.write === write).flatMap((s) => index.get(wholeOf(s.storage)) ?? []);
    const [writes, reads] = [own(true), own(false)];
    // A value read through two bindings cannot share a buffer with one that is written: both would be writable and overlap.
    const twice = reads.filter((r, i) => reads.indexOf(r) !== i);
    for (const w of writes) for (const r of new Set(reads)) (twice.includes(r) ? strict : apart).push([w, r]);
  }
  const lifetimes: readonly Lifetime[] = values;
  const memory = planMemory(lifetimes, {
    apart,
    strict,
    alignment: profile.offsetAlignment,
    maxArenaBytes: profile.maxBufferBytes,
    maxArenas: 4,
  });
  if (values.length > 0 && memory.spots.length === 0)
    throw new OpabiniaError(`the activations do not fit: ${memory.liveBound} bytes live at once`, {
      advice: 'shrink the batch, or use f16',
    });
  const arenas = memory.arenaBytes.map((bytes, i) =>
    bytes === 0 ? -1 : add({ name: `${name} ${i}`, role: 'arena', bytes, ...(transient ? { transient } : {}) }),
  );
  values.forEach((value, i) => {
    const spot = memory.spots[i];
    if (spot !== undefined) places.set(value.storage, { buffer: arenas[spot.arena] ?? -1, offset: spot.offset });
  });
  for (const range of ranges) {
    const whole = must(places.get(wholeOf(range)));
    places.set(range, { ...whole, offset: whole.offset + (range.within?.start ?? 0) * dtypeBytes(range.dtype) });
  }
  return memory;
}

function refuseOverLimit(
  step: Step,
  kernel: PlanKernel,
  bindings: readonly PlanBinding[],
  profile: DeviceProfile,
): void {
  const where = { op: step.label, path: step.path, place: step.group.roots[0]?.origin.place };
  if (kernel.access.length > profile.maxBindings)
    throw new OpabiniaError(
      `a kernel reads and writes ${kernel.access.length} buffers, the device '${profile.name}' allows ${profile.maxBindings}`,
      { ...where, advice: 'split the expression by making an intermediate value an output' },
    );
  const large = bindings.find((b) => b.bytes > profile.maxBindingBytes);
  if (large !== undefined)
    throw new OpabiniaError(
      `a tensor of ${large.bytes} bytes is over the device's limit of ${profile.maxBindingBytes} for one binding`,
      { ...where, advice: 'shrink the batch or the largest axis, or use f16' },
    );
}
