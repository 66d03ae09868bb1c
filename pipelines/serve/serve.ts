// A server on a port: opened, and closed when what runs is answered.
import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import { OpabiniaError } from '../../dsl/error.ts';
import { systemError } from '../../runtime/files/system-error.ts';
import { chatApp, type AppOptions, type Served } from './app.ts';

export interface ServeOptions extends Partial<Omit<AppOptions, 'loopback'>> {
  /** 127.0.0.1 by default. Any other than loopback needs a key. */
  readonly host?: string | undefined;
  /** 0: a free one. */
  readonly port?: number | undefined;
}

export interface Serving {
  /** The root of the API: `http://127.0.0.1:8000/v1`. */
  readonly url: string;
  /** Takes no more questions, answers those it has, and lets go of the port. */
  readonly close: () => Promise<void>;
}

export const defaultPort = 8000;
export const defaultQueue = 64;
const mebi = 2 ** 20;
export const defaultBodyBytes = 32 * mebi;
const defaultPictureBytes = 1024 * mebi;
/** Milliseconds for a request to arrive whole. */
const requestTimeout = 120_000;
const mostConnections = 1024;

/** Throws `OpabiniaError` for an address that others reach without a key, and one that is taken. */
export async function serveChat(served: Served, options: ServeOptions = {}): Promise<Serving> {
  const { host = '127.0.0.1', port = defaultPort, apiKey } = options;
  const loopback = isLoopback(host);
  if (!loopback && (apiKey === undefined || apiKey === ''))
    throw new OpabiniaError(`${host} is reached from other machines, and no key is asked for`, {
      op: 'serve',
      advice: 'give --api-key, or stay on 127.0.0.1',
    });
  const app = chatApp(served, {
    queue: defaultQueue,
    bodyBytes: defaultBodyBytes,
    pictureBytes: defaultPictureBytes,
    ...options,
    // With a key, the name by which it is called does not matter: it may stand behind a proxy.
    loopback: loopback && apiKey === undefined,
  });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  server.requestTimeout = requestTimeout;
  server.maxConnections = mostConnections;
  await listening(server, host, port);
  const address = server.address();
  const own = typeof address === 'object' && address !== null ? address.port : port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${own}/v1`,
    close: async () => {
      const closed = Promise.withResolvers<undefined>();
      await app.close();
      server.close(() => closed.resolve(undefined));
      // Clients keep connections open for requests that are not answered any more.
      const idle = setInterval(() => server.closeIdleConnections(), 20);
      const late = setTimeout(() => server.closeAllConnections(), 1000);
      await closed.promise;
      clearInterval(idle);
      clearTimeout(late);
    },
  };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

async function listening(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  server.once('error', (error: NodeJS.ErrnoException) => {
    const taken = new OpabiniaError(`port ${port} of ${host} is taken`, {
      op: 'serve',
      advice: 'give another --port; 0 takes a free one',
      cause: error,
    });
    reject(error.code === 'EADDRINUSE' ? taken : (systemError(error, `${host}:${port}`) ?? error));
  });
  server.listen(port, host, () => resolve(undefined));
  await promise;
}
