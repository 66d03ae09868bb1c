// How far weights are loaded.
import type { Progress } from '../runtime/program/upload.ts';
import { rewrite, tell } from './output.ts';
import { plural } from '../dsl/text/plural.ts';

/** One line that is written over on a terminal; elsewhere a line for each tenth. */
export function loadProgress(): Progress {
  let said = -1;
  return (done, total, path) => {
    const tenths = Math.floor((10 * done) / Math.max(1, total));
    if (process.stderr.isTTY) {
      rewrite(
        done === total
          ? ''
          : `${'█'.repeat(2 * tenths)}${'░'.repeat(20 - 2 * tenths)} ${done}/${total} ${path.slice(0, 60)}`,
      );
    } else if (tenths !== said && tenths % 5 === 0) {
      tell(`  ${done} of ${plural(total, 'tensor')}`);
      said = tenths;
    }
  };
}
