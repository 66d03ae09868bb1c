// Buffers that several programs work on: weights loaded once for all of them, and states that one writes and another reads.
import { OpabiniaError } from '../../dsl/error.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { Device, DeviceBuffer } from '../device/device.ts';
import { printPlanAxes } from './formula.ts';
import type { ParameterValues } from './upload.ts';

interface Row {
  readonly buffer: DeviceBuffer;
  users: number;
}

/**
 * Given to `load`, it makes programs of one device and one source of parameters share what is the same in their plans: parameters
 * and states of one name, constants and loaded tensors of one content, and the arenas of activations, since a run leaves nothing there
 * and is submitted whole. A buffer goes when its last program is disposed of.
 * Programs that share states must not run at the same time: await one before the next.
 */
export class SharedBuffers {
  readonly #rows = new Map<string, Row>();
  /** By name, what was shared last. */
  readonly #stateKeys = new Map<string, readonly string[]>();
  #user: { readonly device: Device; readonly source: ParameterValues } | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** Loads one after the other, so that the second finds what the first has loaded. Throws for another device or source. */
  async exclusive<T>(device: Device, source: ParameterValues, task: () => Promise<T>): Promise<T> {
    const { device: mine = device, source: known = source } = this.#user ?? {};
    if (mine !== device || known !== source)
      throw new OpabiniaError(
        `these buffers are shared on another ${mine !== device ? 'device' : 'source of parameters'}`,
        { op: 'load', advice: 'make SharedBuffers for each device and source' },
      );
    this.#user = { device, source };
    const before = this.#last;
    const turn = Promise.withResolvers<void>();
    this.#last = turn.promise;
    await before;
    try {
      return await task();
    } finally {
      turn.resolve();
    }
  }

  /**
   * Throws `OpabiniaError` when a state of the plan is shared already and lies end to end with other ones than there, or is of another
   * dtype or other axes: each program would go on with a state of its own.
   */
  checkStates(plan: Plan): void {
    const keys = shareKeys(plan);
    // A state in several bindings has as many buffers.
    const own = new Map<string, string[]>();
    for (const { name, buffer } of plan.states) {
      const key = keys[buffer];
      if (key !== undefined) own.set(name, [...(own.get(name) ?? []), key]);
    }
    for (const [name, now] of own) {
      const known = this.#stateKeys.get(name) ?? [];
      if (known.join('\n') === now.join('\n')) continue;
      if (known.some((key) => this.#rows.has(key))) throw otherState(name, known, now);
      this.#stateKeys.set(name, now);
    }
  }

  /** The buffer of this key for one more program; undefined when there is none. */
  hold(key: string): DeviceBuffer | undefined {
    const row = this.#rows.get(key);
    if (row !== undefined) row.users++;
    return row?.buffer;
  }

  /** A buffer that its first program has filled. */
  put(key: string, buffer: DeviceBuffer): void {
    this.#rows.set(key, { buffer, users: 1 });
  }

  /** What makes the plan's buffers the same as those that are there, or as those that will come. */
  keys(plan: Plan): readonly (string | undefined)[] {
    const arenas = new Map(
      [...this.#rows].flatMap(([key, { buffer }]) => (key.startsWith(arenaKey) ? [[key, buffer.bytes] as const] : [])),
    );
    return withArenas(plan, arenas);
  }

  /** One program less. */
  release(key: string): void {
    const row = this.#rows.get(key);
    if (row === undefined || --row.users > 0) return;
    this.#rows.delete(key);
    this.#user?.device.free([row.buffer]);
  }
}

function otherState(name: string, known: readonly string[], now: readonly string[]): OpabiniaError {
  if ([...known, ...now].some((key) => key.startsWith(packKey)))
    return new OpabiniaError(`the state '${name}' lies elsewhere in a plan that is loaded already`, {
      op: 'load',
      advice: 'compile the graphs with compileTogether',
    });
  // `state 120 acc f32 [b:1 n:5 e:6]`
  const typeOf = (keys: readonly string[]): string =>
    keys.map((key) => key.replace(/^state \d+ /, '').slice(name.length + 1)).join(', ');
  return new OpabiniaError(
    `the state '${name}' is ${typeOf(now)}, and ${typeOf(known)} in a program that shares its buffers`,
    { op: 'load', advice: 'give both the same axes and dtype, or one of them another name' },
  );
}

/** Several states in one buffer. */
const packKey = 'states';

const arenaKey = 'arena';

/**
 * `shareKeys` with the arenas: each takes the smallest of `known` (bytes by key) that holds it and that no other arena of the plan has, or a new
 * one, which is added there.
 */
export function withArenas(plan: Plan, known: Map<string, number>): readonly (string | undefined)[] {
  const keys = [...shareKeys(plan)];
  const arenas = plan.buffers
    .flatMap(({ role, transient, bytes }, i) => (role === 'arena' && transient !== true ? [{ i, bytes }] : []))
    .sort((a, b) => b.bytes - a.bytes);
  const taken = new Set<string>();
  for (const { i, bytes } of arenas) {
    const [fitting] = [...known]
      .filter(([key, room]) => room >= bytes && !taken.has(key))
      .sort(([, a], [, b]) => a - b)
      .map(([key]) => key);
    let fresh = known.size;
    while (known.has(`${arenaKey} ${fresh}`)) fresh++;
    const key = fitting ?? `${arenaKey} ${fresh}`;
    if (fitting === undefined) known.set(key, bytes);
    taken.add(key);
    keys[i] = key;
  }
  return keys;
}

/** What makes a plan's buffers the same as another's; undefined for those that are a program's own. Arenas: `withArenas`. */
export function shareKeys(plan: Plan): readonly (string | undefined)[] {
  const named = new Map(
    [...plan.parameters, ...plan.states].map((tensor) => [
      tensor.buffer,
      `${tensor.name} ${tensor.dtype} ${printPlanAxes(tensor.axes, new Map())}`,
    ]),
  );
  return plan.buffers.map((buffer, i) => {
    if (buffer.transient === true) return undefined;
    switch (buffer.role) {
      case 'state':
        if (buffer.origin !== undefined) return `${packKey} ${buffer.bytes} ${buffer.origin}`;
        return named.has(i) ? `${buffer.role} ${buffer.bytes} ${named.get(i) ?? ''}` : undefined;
      case 'parameter':
        return named.has(i) ? `${buffer.role} ${buffer.bytes} ${named.get(i) ?? ''}` : undefined;
      case 'loaded':
        return buffer.origin === undefined ? undefined : `loaded ${buffer.bytes} ${buffer.origin}`;
      case 'constant':
        return `constant ${buffer.bytes} ${buffer.contents ?? ''}`;
      case 'input':
      case 'output':
      case 'arena':
      case 'symbols':
        return undefined;
      default:
        return buffer.role satisfies never;
    }
  });
}
