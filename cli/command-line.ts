// What a person typed, as they can type it again.

/** The command with its arguments, in quotes for a shell where one needs them. */
export function commandLine(args: readonly string[]): string {
  return ['opabinia', ...args.map(quoted)].join(' ');
}

function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}
