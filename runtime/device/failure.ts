// What can go wrong on a device, as typed errors: a caller tells a lost device from a bad kernel by class or by `kind`.
import { OpabiniaError, type Where } from '../../dsl/error.ts';

export type DeviceFailure = 'no-adapter' | 'lost' | 'out-of-memory' | 'over-limit' | 'validation' | 'hung' | 'internal';

/** Every failure of the device or of its driver. */
export class DeviceError extends OpabiniaError {
  readonly kind: DeviceFailure;
  constructor(kind: DeviceFailure, what: string, where: Where = {}) {
    super(what, where);
    this.kind = kind;
    this.name = new.target.name;
  }
}

/** No GPU and no software driver that Dawn accepts. */
export class NoAdapterError extends DeviceError {
  constructor(what: string, where: Where = {}) {
    super('no-adapter', what, where);
  }
}

/** The device is gone (unplugged, driver reset, closed): everything on it is lost; open another and load again. */
export class DeviceLostError extends DeviceError {
  constructor(what: string, where: Where = {}) {
    super('lost', what, where);
  }
}

/** Refused by our own budget before allocation, or by the driver. Nothing stays allocated. */
export class OutOfMemoryError extends DeviceError {
  constructor(what: string, where: Where = {}) {
    super('out-of-memory', what, where);
  }
}

/** A buffer, binding, workgroup, grid or feature beyond what this device offers. */
export class OverLimitError extends DeviceError {
  constructor(what: string, where: Where = {}) {
    super('over-limit', what, where);
  }
}

/** WGSL or a call that the device refuses: a fault of the plan, not of the machine. */
export class ValidationError extends DeviceError {
  constructor(what: string, where: Where = {}) {
    super('validation', what, where);
  }
}

/** Work did not end within its deadline. The device cannot be used again, and only the end of the process stops the kernel. */
export class HungError extends DeviceError {
  constructor(what: string, where: Where = {}) {
    super('hung', what, where);
  }
}

/** The typed error for one that WebGPU reported; limits are told from other refusals by their wording. */
export function typedFailure(error: unknown, what: string, where: Where = {}): DeviceError {
  if (error instanceof DeviceError) return error;
  const message = (error instanceof Error || isReported(error) ? error.message : String(error)).trim();
  const text = message === '' ? what : `${what}\n  ${message.replaceAll('\n', '\n  ')}`;
  const reported = error instanceof Object ? error.constructor.name : '';
  if (reported === 'GPUOutOfMemoryError') return new OutOfMemoryError(text, where);
  if (reported === 'GPUInternalError') return new DeviceError('internal', text, where);
  const overLimit =
    /exceeds? the (max|limit|remaining)|larger than the max|is larger than|exceeds .*limit|maximum allowed|greater than .*max/i;
  return overLimit.test(message) ? new OverLimitError(text, where) : new ValidationError(text, where);
}

function isReported(error: unknown): error is { readonly message: string } {
  return typeof error === 'object' && error !== null && 'message' in error && typeof error.message === 'string';
}
