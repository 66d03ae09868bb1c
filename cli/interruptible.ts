// What Ctrl-C and `kill` stop: the work ends between two pieces and takes away what it began.

const codes = { SIGINT: 130, SIGTERM: 143 } as const;

/** Does work with a signal that is aborted by either; the command then ends with the exit code of a shell. A second one ends it at once. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  let code = 0;
  const listeners = (['SIGINT', 'SIGTERM'] as const).map((name) => {
    const listener = (): void => {
      code = codes[name];
      stop.abort();
    };
    process.once(name, listener);
    return () => process.off(name, listener);
  });
  try {
    return await work(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    return process.exit(code);
  } finally {
    for (const off of listeners) off();
  }
}
