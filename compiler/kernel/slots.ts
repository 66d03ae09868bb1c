// The bindings of a kernel: one for a tensor, the width at which it is read or written, and the direction. Loads and stores go through them.
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import { computeType } from '../../dsl/ops/map/compute-type.ts';
import { code, scalarType, splat, type Code } from '../../dsl/wgsl.ts';
import { constantIndex, divide, isMultiple, remainder, scale, type Index } from '../index/index-math.ts';
import { coefficient } from '../index/index-variables.ts';
import { indexText } from '../index/index-text.ts';
import { compose, loaded, stored, typeOf, type Width } from './element-format.ts';
import { bytesInBinding, unitBytes, type Block, type Slot } from './kernel.ts';
import { canStoreVector, onLane, quadName } from './quad.ts';
import { address, type IndexMap, type Placement } from './storage.ts';

/** An access of a stored tensor: `width` elements from `at` on. */
export interface Touch {
  readonly slot: Slot;
  readonly at: Index;
  readonly width: Width;
}

export interface SlotOptions {
  readonly maxBindingBytes: number;
  /** No tensor is read both by vectors and by elements, and none is written by vectors. */
  readonly oneBindingEach: boolean;
}

export class Slots {
  readonly slots: Slot[] = [];
  /** Every element that the kernel touches, for `verify`. */
  readonly accesses: Touch[] = [];
  readonly #options: SlotOptions;

  constructor(options: SlotOptions) {
    this.#options = options;
  }

  /** A stored value; four neighbours in memory are one vector load. */
  load(block: Block, placement: Placement, index: IndexMap, width: Width): Code {
    const flat = address(placement, index);
    if (width === 1) return this.#loadOne(block, placement, flat);
    const start = onLane(flat, 0);
    const isVector =
      coefficient(flat, quadName) === 1 && isMultiple(start, 4) && isMultiple(placement.storage.elements, 4);
    if (isVector && this.#only(placement)?.width !== 1) return this.#loadQuarter(block, placement, start);
    return compose([0, 1, 2, 3].map((lane) => this.#loadOne(block, placement, onLane(flat, lane))));
  }

  #loadOne(block: Block, placement: Placement, flat: Index): Code {
    if (this.#only(placement)?.width === 4) {
      // One of a vector that the kernel reads as a whole elsewhere.
      const start = scale(divide(flat, constantIndex(4)), 4);
      const vector = block.let(
        'four',
        this.#loadQuarter(block, placement, start),
        `four/${placement.storage.name}/${start.key}`,
      );
      const lane = remainder(flat, constantIndex(4));
      return code(`${vector.text}[${indexText(lane)}]`, scalarType(vector.type), vector.needs);
    }
    const slot = this.#touch(this.#slot(placement, 1, false), flat, 1);
    return loaded(
      block.let(`${slot.name}_at`, code(indexText(flat), 'u32'), `at/${flat.key}`),
      slot,
      placement.storage.dtype,
    );
  }

  /** The vector that begins at a multiple of four. */
  #loadQuarter(block: Block, placement: Placement, start: Index): Code {
    const slot = this.#touch(this.#slot(placement, 4, false), start, 4);
    const quarter = divide(start, constantIndex(4));
    return loaded(
      block.let(`${slot.name}_at`, code(indexText(quarter), 'u32'), `at/${quarter.key}`),
      slot,
      placement.storage.dtype,
    );
  }

  /** Several elements that are read as one, by elements: where they begin. */
  block(placement: Placement, first: IndexMap, every: IndexMap): { readonly slot: string; readonly at: Index } {
    const slot = this.#touch(this.#slot(placement, 1, false), address(placement, every), 1);
    if (slot.piece !== undefined) throw new TypeError('a block of a tensor in several bindings');
    return { slot: slot.name, at: address(placement, first) };
  }

  /** The binding that a tensor must be read through, where each has one. */
  #only({ storage }: Placement): Slot | undefined {
    return this.#options.oneBindingEach
      ? this.slots.find((slot) => slot.storage === storage && !slot.write)
      : undefined;
  }

  #touch(slot: Slot, at: Index, width: Width): Slot {
    this.accesses.push({ slot, at, width });
    return slot;
  }

  #slot(placement: Placement, width: Width, write: boolean): Slot {
    const same = this.slots.findIndex((s) => s.storage === placement.storage && s.width === width);
    const known = this.slots[same];
    if (known !== undefined && (known.write || !write)) return known;
    // One that is read already is written through the same binding: two of one buffer would overlap.
    if (known !== undefined) return (this.slots[same] = { ...known, write: true });
    const slot: Slot = {
      name: `${write ? 'y' : 'x'}${this.slots.filter((s) => s.write === write).length}`,
      storage: placement.storage,
      width,
      write,
      piece: this.#piece(placement, width),
    };
    this.slots.push(slot);
    return slot;
  }

  /** Elements in one binding of a tensor that is over the limit. */
  #piece({ storage }: Placement, width: Width): number | undefined {
    if (storage.elements.most * dtypeBytes(storage.dtype) <= this.#options.maxBindingBytes) return undefined;
    return bytesInBinding(this.#options.maxBindingBytes) / unitBytes({ storage, width });
  }

  /** Writes a value; in vectors when four neighbours in memory are four neighbours along the quad. */
  store(block: Block, placement: Placement, index: IndexMap, value: Code, width: Width): void {
    const flat = address(placement, index);
    const { dtype } = placement.storage;
    if (width === 1) {
      block.store(this.#touch(this.#slot(placement, 1, true), flat, 1), flat, stored(value, dtype));
      return;
    }
    const start = onLane(flat, 0);
    const wide = splat(value, typeOf(dtype, 4));
    if (canStoreVector(placement, index) && !this.#options.oneBindingEach) {
      block.store(
        this.#touch(this.#slot(placement, 4, true), start, 4),
        divide(start, constantIndex(4)),
        stored(wide, dtype),
      );
      return;
    }
    const kept = block.let('value', wide);
    ['x', 'y', 'z', 'w'].forEach((component, lane) => {
      block.store(
        this.#touch(this.#slot(placement, 1, true), onLane(flat, lane), 1),
        onLane(flat, lane),
        stored(code(`${kept.text}.${component}`, computeType(dtype), lane === 0 ? kept.needs : []), dtype),
      );
    });
  }
}
