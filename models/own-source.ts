// The file in which somebody made a value of ours, so that a record can say which text that was.

const folder = new URL('.', import.meta.url).href;
const stacks = new WeakMap<object, Error>();

/** Notes that `value` was made by whoever calls `maker`, the function that is running. The stack is formatted when somebody asks. */
export function noteSource(value: object, maker: (...given: never[]) => unknown): void {
  const stack = new Error();
  Error.captureStackTrace(stack, maker);
  stacks.set(value, stack);
}

/** The URL of the module that made it, `file:///…/mine.ts`; undefined for what is our own, and for a copy. */
export function sourceOf(value: object): string | undefined {
  const [, caller = ''] = stacks.get(value)?.stack?.split('\n') ?? [];
  const [, file] = /((?:file:\/\/)?\/[^()?]*)(?:\?[^()]*)?:\d+:\d+\)?$/.exec(caller) ?? [];
  const url = file?.startsWith('/') === true ? `file://${encodeURI(file)}` : file;
  return url?.startsWith(folder) === true ? undefined : url;
}
