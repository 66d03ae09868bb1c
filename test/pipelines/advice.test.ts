// The advice of a machine without an adapter, for each system; what set-up runs is what it prints.
import { describe, expect, test } from 'vitest';
import { adviceFor, printAdvice, type Machine } from '../../pipelines/setup/advice.ts';

const debian12: Machine = {
  platform: 'linux',
  root: true,
  release: 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
  aptSources:
    'Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\n',
};
const install = 'apt-get install -y --no-install-recommends';
const packages = 'mesa-vulkan-drivers libvulkan1';

function linux(release: string): Machine {
  return { platform: 'linux', root: true, release, aptSources: '' };
}

describe('Debian 12', () => {
  const fromBackports = `apt-get update; ${install} -t bookworm-backports ${packages}`;
  const added = (uri: string): string =>
    `echo 'deb ${uri} bookworm-backports main' > /etc/apt/sources.list.d/bookworm-backports.list; ${fromBackports}`;

  test('adds backports from the mirror in use, in either form of apt sources', () => {
    expect(adviceFor(debian12)).toMatchObject({ automatic: true, command: added('http://mirror.example/debian') });
    expect(
      adviceFor({
        ...debian12,
        aptSources:
          '# deb http://old/debian bookworm main\ndeb [signed-by=/k.gpg] http://one.line/debian bookworm main\n',
      }).command,
    ).toBe(added('http://one.line/debian'));
    expect(adviceFor({ ...debian12, aptSources: '' }).command).toBe(added('http://deb.debian.org/debian'));
  });

  test('leaves sources alone that have backports, not those where they are commented out', () => {
    expect(
      adviceFor({ ...debian12, aptSources: `${debian12.aptSources}\ndeb http://x/debian bookworm-backports main\n` })
        .command,
    ).toBe(fromBackports);
    expect(
      adviceFor({ ...debian12, aptSources: `${debian12.aptSources}\n#deb http://x/debian bookworm-backports main\n` })
        .command,
    ).toBe(added('http://mirror.example/debian'));
  });
});

test.each<[string, Machine, string | undefined]>([
  ['Debian 13', linux('ID=debian\nVERSION_ID="13"'), `apt-get update; ${install} ${packages}`],
  ['Debian testing', linux('ID=debian'), `apt-get update; ${install} ${packages}`],
  ['Ubuntu 24.04', linux('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"'), `apt-get update; ${install} ${packages}`],
  [
    'Linux Mint',
    linux('ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="22"'),
    `apt-get update; ${install} ${packages}`,
  ],
  ['Debian 11', linux('ID=debian\nVERSION_ID="11"'), undefined],
  ['Fedora', linux('ID=fedora\nVERSION_ID=42'), 'dnf install -y mesa-vulkan-drivers vulkan-loader'],
  ['Arch', linux('ID=arch'), 'pacman -S --noconfirm vulkan-swrast vulkan-icd-loader'],
  ['Alpine', linux('ID=alpine\nVERSION_ID=3.22'), undefined],
  ['macOS', { platform: 'darwin', root: false, release: '', aptSources: '' }, undefined],
  ['Windows', { platform: 'win32', root: false, release: '', aptSources: '' }, undefined],
])('%s', (_name, machine, command) => {
  const advice = adviceFor(machine);
  expect(advice.command).toBe(command);
  // only systems that we know to the package are changed without asking
  expect(advice.automatic).toBe(command?.startsWith('apt-get') ?? false);
  expect(advice.why.length).toBeGreaterThan(20);
});

test('who is not root gets the command with sudo', () => {
  expect(printAdvice(adviceFor(debian12), false)).toContain(`sudo sh -c "echo 'deb http://mirror.example/debian`);
  expect(printAdvice(adviceFor(debian12), true)).not.toContain('sudo');
});
