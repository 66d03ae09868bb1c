// Set-up, run before tests and demo: where Dawn finds no adapter, installs a software one as root on Debian and Ubuntu, and
// prints the command that does so elsewhere. Never fails: what needs an adapter says so itself.
import { spawnSync } from 'node:child_process';
import { probe, type Probe } from './adapter.ts';
import { adviceFor, printAdvice } from './advice.ts';
import { thisMachine } from './machine.ts';

/** True when there is an adapter in the end. */
export function setUp(say: (line: string) => void): boolean {
  const first = probe();
  if (first.found === 'adapter') return true;
  if (first.found === 'unsupported') {
    say(first.why);
    return false;
  }
  const machine = thisMachine();
  const advice = adviceFor(machine);
  if (!machine.root || !advice.automatic || advice.command === undefined) {
    say(whatToDo(first));
    return false;
  }
  say(`${advice.why}. Installing it:\n  ${advice.command}`);
  const install = spawnSync('sh', ['-c', advice.command], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (install.status !== 0) {
    say(`that failed:\n${`${install.stdout ?? ''}${install.stderr ?? ''}`.trim().split('\n').slice(-15).join('\n')}`);
    return false;
  }
  const second = probe();
  if (second.found !== 'adapter') {
    say(
      `installed, and still no adapter${second.found === 'none' ? '' : ` (${second.why})`}; is VK_DRIVER_FILES or VK_ICD_FILENAMES set?`,
    );
    return false;
  }
  say(`found ${second.facts.name}: ${second.facts.driver}`);
  return true;
}

/** What to do, for a probe that found no adapter. */
export function whatToDo(found: Exclude<Probe, { found: 'adapter' }>): string {
  if (found.found === 'unsupported') return found.why;
  const machine = thisMachine();
  const what = found.found === 'broken' ? `the Vulkan driver is broken (${found.why}). ` : '';
  return `${what}${printAdvice(adviceFor(machine), machine.root)}`;
}
