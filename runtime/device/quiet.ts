// Dawn writes warnings about its own limits to the process's stderr whenever it looks for an adapter. They tell a user nothing, and no flag
// of Dawn's turns them off.
import { closeSync, openSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

/** What may open a file of its own at the same time, and would then get the number that stderr has. */
const busy = /^(?:FSReq|Worker|MessagePort|GetAddrInfo)/;
/** Of these, what is over in a moment. */
const brief = /^(?:FSReq|GetAddrInfo)/;

const othersAtWork = (): readonly string[] => process.getActiveResourcesInfo().filter((name) => busy.test(name));

/** Until nothing else of the process opens files, which module loading does a moment longer; not for longer than that. */
export async function whenAlone(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) {
    const others = othersAtWork();
    if (!isMainThread || others.length === 0 || !others.every((name) => brief.test(name))) return;
    await new Promise((resolve) => setTimeout(resolve, turn));
  }
}

/**
 * Calls `look` while nothing reaches stderr. Only on POSIX, on the main thread, and while nothing else of the process opens files: in all
 * other cases the warnings are the lesser evil.
 */
export function quietly<T>(look: () => T): T {
  const safe = process.platform !== 'win32' && isMainThread && othersAtWork().length === 0;
  const kept = safe ? reopened('/dev/fd/2', 'a') : undefined;
  if (kept === undefined) return look();
  // The lowest free number is the one that was just given back.
  closeSync(2);
  const nothing = openSync('/dev/null', 'w');
  try {
    return look();
  } finally {
    closeSync(nothing);
    openSync(`/dev/fd/${kept}`, 'a');
    closeSync(kept);
  }
}

/** Undefined for what cannot be opened a second time, such as a socket. */
function reopened(path: string, flags: string): number | undefined {
  try {
    return openSync(path, flags);
  } catch {
    return undefined;
  }
}
