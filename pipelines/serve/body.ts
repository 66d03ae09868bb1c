// The JSON of a request, read no further than its bound.
import { ApiError } from './api-error.ts';

/** Throws `ApiError`: 413 beyond `most` bytes, 415 for what is not said to be JSON, 400 for what is none. */
export async function readJson(request: Request, most: number): Promise<unknown> {
  const type = request.headers.get('content-type') ?? '';
  // A page in a browser may send other types anywhere without being asked for leave.
  if (!/^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(type))
    throw new ApiError(415, "the body must be JSON: send 'Content-Type: application/json'", {
      code: 'unsupported_type',
    });
  const encoding = request.headers.get('content-encoding') ?? 'identity';
  if (encoding !== 'identity')
    throw new ApiError(415, 'the body is compressed: send it as it is', { code: 'unsupported_encoding' });
  if (Number(request.headers.get('content-length') ?? 0) > most) throw tooLarge(most);
  const bytes = await readUpTo(request.body, most);
  const text = decoded(bytes);
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new ApiError(400, 'the body is not JSON', { code: 'invalid_json', cause });
  }
}

async function readUpTo(body: ReadableStream<Uint8Array> | null, most: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body ?? []) {
    size += part.length;
    if (size > most) throw tooLarge(most);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ApiError(400, 'the body is not UTF-8', { code: 'invalid_json', cause });
  }
}

function tooLarge(most: number): ApiError {
  return new ApiError(413, `the body has more than ${most} bytes: send fewer or smaller pictures`, {
    code: 'body_too_large',
  });
}
