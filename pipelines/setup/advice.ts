// What to do on a machine where Dawn finds no adapter: one shell command for each system, the same that set-up runs itself.

export interface Machine {
  readonly platform: NodeJS.Platform;
  readonly root: boolean;
  /** The text of /etc/os-release; empty where there is none. */
  readonly release: string;
  /** The text of all apt sources. */
  readonly aptSources: string;
}

export interface Advice {
  /** For people: why, in one line. */
  readonly why: string;
  /** A command for `sh -c`, to be run as root; undefined where no command helps. */
  readonly command: string | undefined;
  /** We know the system well enough to run the command ourselves. */
  readonly automatic: boolean;
}

const aptPackages = 'mesa-vulkan-drivers libvulkan1';
const software = "no GPU driver was found; Mesa's lavapipe runs Vulkan on the CPU";

export function adviceFor(machine: Machine): Advice {
  if (machine.platform === 'darwin')
    return hopeless('Dawn uses Metal, which every Mac since 2012 has; a virtual machine may hide it: run on the host');
  if (machine.platform === 'win32')
    return hopeless("Dawn uses Direct3D 12 or Vulkan: install the graphics card's own driver");
  if (machine.platform !== 'linux')
    return hopeless(`Dawn has no build for ${machine.platform}: use Linux, macOS or Windows`);
  const { id, like, version } = readRelease(machine.release);
  const is = (name: string): boolean => id === name || like.includes(name);
  if (id === 'debian' && version === 12)
    return { why: software, command: debian12(machine.aptSources), automatic: true };
  if (id === 'debian' && version !== undefined && version < 12)
    return hopeless(`the Mesa of Debian ${version} is too old for Dawn: use Debian 12 or later`);
  if (is('debian') || is('ubuntu'))
    return {
      why: software,
      command: `apt-get update; apt-get install -y --no-install-recommends ${aptPackages}`,
      automatic: true,
    };
  if (is('fedora') || is('rhel'))
    return { why: software, command: 'dnf install -y mesa-vulkan-drivers vulkan-loader', automatic: false };
  if (is('arch'))
    return { why: software, command: 'pacman -S --noconfirm vulkan-swrast vulkan-icd-loader', automatic: false };
  if (is('suse') || is('opensuse'))
    return { why: software, command: 'zypper install -y libvulkan_lvp libvulkan1', automatic: false };
  if (is('alpine')) return hopeless('Dawn is built for glibc, and Alpine has musl: use a Debian or Ubuntu image');
  return hopeless(
    "install a Vulkan loader (libvulkan.so.1) and your graphics card's Vulkan driver, or Mesa's lavapipe 23 or later",
  );
}

function hopeless(why: string): Advice {
  return { why, command: undefined, automatic: false };
}

/** Debian 12 itself has Mesa 22.3, which Dawn refuses; its backports have a newer one. Also replaces a 22.3 that is there. */
function debian12(sources: string): string {
  const lines = sources.split('\n').filter((line) => !line.trimStart().startsWith('#'));
  const known = lines.some((line) => line.includes('bookworm-backports'));
  // One unreachable source makes `update` fail, and need not be the one that counts: hence `;`, not `&&`.
  const steps = ['apt-get update', `apt-get install -y --no-install-recommends -t bookworm-backports ${aptPackages}`];
  if (!known)
    steps.unshift(
      `echo 'deb ${mirror(lines)} bookworm-backports main' > /etc/apt/sources.list.d/bookworm-backports.list`,
    );
  return steps.join('; ');
}

/** The mirror that the machine already uses: the network may let it reach no other. */
function mirror(lines: readonly string[]): string {
  for (const [i, line] of lines.entries()) {
    const oneLine = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+bookworm\s/.exec(line);
    if (oneLine?.[1] !== undefined) return oneLine[1];
    if (!/^Suites:.*\bbookworm(\s|$)/.test(line)) continue;
    // a deb822 stanza: its URIs stand above or below, before the next empty line
    const from = lines.slice(0, i).findLastIndex((other) => other.trim() === '') + 1;
    const end = lines.findIndex((other, j) => j > i && other.trim() === '');
    const uri = lines
      .slice(from, end < 0 ? undefined : end)
      .map((other) => /^URIs:\s*(\S+)/.exec(other)?.[1])
      .find((found) => found !== undefined);
    if (uri !== undefined) return uri;
  }
  return 'http://deb.debian.org/debian';
}

function readRelease(text: string): {
  readonly id: string;
  readonly like: readonly string[];
  readonly version: number | undefined;
} {
  const value = (key: string): string => new RegExp(`^${key}=["']?([^"'\n]*)`, 'm').exec(text)?.[1] ?? '';
  const version = Number.parseInt(value('VERSION_ID'), 10);
  return {
    id: value('ID'),
    like: value('ID_LIKE')
      .split(/\s+/)
      .filter((word) => word !== ''),
    version: Number.isNaN(version) ? undefined : version,
  };
}

/** What a person has to type, or to know. */
export function printAdvice(advice: Advice, root: boolean): string {
  if (advice.command === undefined) return advice.why;
  const command = root ? advice.command : `sudo sh -c "${advice.command}"`;
  return `${advice.why}. Install it with\n  ${command}`;
}
