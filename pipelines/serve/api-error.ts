// Errors in the form that OpenAI's clients read: an object `error` with a message, a type, the field that is wrong, and a code.
import { OpabiniaError } from '../../dsl/error.ts';
import { DeviceError } from '../../runtime/device/failure.ts';
import { ContextOverflowError } from '../answer/generate.ts';
import { NotFiniteError } from '../answer/not-finite.ts';

export type ErrorStatus = 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429 | 499 | 500 | 503;

export interface ApiErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

const types: Readonly<Record<ErrorStatus, string>> = {
  400: 'invalid_request_error',
  401: 'invalid_request_error',
  403: 'invalid_request_error',
  404: 'invalid_request_error',
  405: 'invalid_request_error',
  413: 'invalid_request_error',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  499: 'invalid_request_error',
  500: 'server_error',
  503: 'server_error',
};

/** What a client is told. `param`: the field that is meant, as `messages[0].content`. */
export class ApiError extends Error {
  readonly status: ErrorStatus;
  readonly param: string | null;
  readonly code: string | null;
  /** Seconds after which it is worth trying again. */
  readonly retryAfter: number | undefined;

  constructor(
    status: ErrorStatus,
    message: string,
    about: {
      readonly param?: string;
      readonly code?: string;
      readonly retryAfter?: number;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, { cause: about.cause });
    this.name = new.target.name;
    this.status = status;
    this.param = about.param ?? null;
    this.code = about.code ?? null;
    this.retryAfter = about.retryAfter;
  }

  get body(): ApiErrorBody {
    const { message, param, code, status } = this;
    return { error: { message, type: types[status], param, code } };
  }
}

/** What happened to a question, as a client is told: what it can mend with the field, what is the server's fault without particulars. */
export function apiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof ContextOverflowError)
    return new ApiError(400, sentence(error), { param: 'messages', code: 'context_length_exceeded', cause: error });
  if (error instanceof NotFiniteError) return new ApiError(500, error.what, { code: 'not_finite', cause: error });
  if (error instanceof DeviceError)
    return new ApiError(503, 'the device is not there, or has no room', { code: 'device_error', cause: error });
  if (error instanceof OpabiniaError) return new ApiError(400, sentence(error), { param: 'messages', cause: error });
  return new ApiError(500, 'something went wrong in the server', { code: 'internal_error', cause: error });
}

function sentence({ what, advice }: OpabiniaError): string {
  return advice === undefined ? what : `${what}: ${advice}`;
}
