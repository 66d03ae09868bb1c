// The memory budget: every buffer of a device with its bytes. WebGPU never reports over-allocation (the operating system
// kills the process instead), so the budget is ours to keep.
import { totalmem } from 'node:os';
import { OutOfMemoryError } from './failure.ts';

export interface MemoryRow {
  readonly label: string;
  readonly bytes: number;
}

export class MemoryBudget {
  /** Bytes that may be allocated at once. */
  readonly budget: number;
  #rows = new Set<MemoryRow>();
  #now = 0;
  #peak = 0;

  constructor(budget: number) {
    this.budget = budget;
  }

  /** Bytes allocated now. */
  get now(): number {
    return this.#now;
  }

  /** Most bytes that were allocated at once. */
  get peak(): number {
    return this.#peak;
  }

  /** The buffers that exist, largest first. */
  rows(): readonly MemoryRow[] {
    return [...this.#rows].sort((a, b) => b.bytes - a.bytes);
  }

  /** Refuses with `OutOfMemoryError`, before anything is allocated, what would exceed the budget. */
  check(requests: readonly MemoryRow[], advice?: string): void {
    const bytes = requests.reduce((sum, request) => sum + request.bytes, 0);
    if (this.#now + bytes <= this.budget) return;
    const held = this.#now === 0 ? '' : ` on top of the ${printBytes(this.#now)} in use`;
    throw new OutOfMemoryError(
      `${printBytes(bytes)} of buffers are asked for${held}, and the budget is ${printBytes(this.budget)}\n${largest(requests)}`,
      {
        op: 'allocate',
        advice: advice ?? 'dispose of programs no longer used, or raise the budget given to openDevice',
      },
    );
  }

  add(row: MemoryRow): void {
    this.#rows.add(row);
    this.#now += row.bytes;
    this.#peak = Math.max(this.#peak, this.#now);
  }

  remove(row: MemoryRow): void {
    if (this.#rows.delete(row)) this.#now -= row.bytes;
  }
}

/** The three largest, one a line: what a person can do something about. */
function largest(rows: readonly MemoryRow[]): string {
  const sorted = [...rows].sort((a, b) => b.bytes - a.bytes).slice(0, 3);
  return sorted.map((row) => `  ${printBytes(row.bytes).padStart(10)}  ${row.label}`).join('\n');
}

/** `12.5 MiB` */
export function printBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || Number.isInteger(value) ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit] ?? 'B'}`;
}

/** What runs on the CPU has the machine's memory; a tenth stays for everybody else. */
export function freeMemory(): number {
  const free = process.availableMemory();
  return Math.floor(0.9 * (free > 0 ? free : totalmem()));
}
