// What `checkModel` found, as text.
import { formatTable } from '../../dsl/text/table.ts';
import { printBytes } from '../../runtime/device/memory-budget.ts';
import type { Checked, CheckedMemory } from './check-model.ts';
import { plural } from '../../dsl/text/plural.ts';

/** Lines of one kind that are printed; `--json` has all. */
const most = 12;

/** Everything as text. */
export function printChecked(checked: Checked): string {
  const { directory, what, modelType, layout, parts, reads, weights, missing, ignored, problems, memory, ok } = checked;
  const kind = [what ?? 'not a model that can be read', modelType === undefined ? '' : `(${modelType})`]
    .join(' ')
    .trim();
  const sections = [
    [`${directory}: ${kind}${layout === undefined ? '' : `, names of ${layout}`}`],
    section(
      'parts',
      parts.map((part) => [part.name, part.what]),
    ),
    section(
      'is read',
      reads.map(({ file, what: from }) => [file, from]),
    ),
    section(
      'weights',
      weights.map(({ of, tensors, bytes, dtypes }) => [
        of,
        `${plural(tensors, 'tensor')}, ${printBytes(bytes)}: ${Object.entries(dtypes)
          .map(([dtype, count]) => `${count} ${dtype}`)
          .join(', ')}`,
      ]),
    ),
    section(
      'is missing',
      missing.map(({ name, nearest }) => [name, nearest.length === 0 ? '' : `nearest: ${nearest.join(', ')}`]),
    ),
    section(
      'is ignored',
      ignored.map(({ name, why }) => [name, why]),
    ),
    memory === undefined ? [] : printMemory(memory),
    problems.length === 0
      ? []
      : [
          `${problems.length} ${problems.length === 1 ? 'thing is' : 'things are'} wrong`,
          ...problems.flatMap(({ what: wrong, advice }) => [
            ...wrong.split('\n').map((line, i) => `  ${i === 0 ? '· ' : '  '}${line}`),
            ...(advice === undefined ? [] : [`      try ${advice}`]),
          ]),
        ],
    [ok ? '`run` opens it' : '`run` would fail'],
  ];
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

function section(title: string, rows: readonly (readonly [string, string])[]): readonly string[] {
  if (rows.length === 0) return [];
  const shown = rows.slice(0, most);
  const width = Math.max(...shown.map(([name]) => name.length));
  return [
    title,
    ...shown.map(([name, what]) => `  ${name.padEnd(width)}  ${what}`.trimEnd()),
    ...(rows.length > most ? [`  … and ${rows.length - most} more`] : []),
  ];
}

function printMemory(memory: CheckedMemory): readonly string[] {
  const { dtype, device, context, images, prompt, items, programs, running, peak, budget, fits } = memory;
  const pictures = images === 0 ? '' : `, ${images} picture${images === 1 ? '' : 's'}`;
  // Largest first: what is under a hundredth is one row.
  const large = items.filter(({ bytes }) => bytes * 100 >= running).length;
  const shown = items.length - large > 1 ? large : items.length;
  const rest = items.slice(shown).reduce((sum, { bytes }) => sum + bytes, 0);
  return [
    `memory of ${device}, ${dtype}, a context of ${plural(context, 'token')}${pictures}; a short question has ${plural(prompt, 'token')}`,
    formatTable(
      [{ title: 'what' }, { title: 'bytes', align: 'right' }],
      [
        ...items.slice(0, shown).map((item) => [item.name, printBytes(item.bytes)]),
        ...(shown === items.length ? [] : [[`${items.length - shown} smaller things`, printBytes(rest)]]),
        ['while running', printBytes(running)],
        ['peak, while loading', printBytes(peak)],
        ...(budget === undefined
          ? []
          : [[fits === true ? 'offered: it fits' : 'offered: too little', printBytes(budget)]]),
      ],
    ),
    '',
    formatTable(
      [{ title: 'program by itself' }, { title: 'at its peak', align: 'right' }, { title: '' }],
      programs.map(({ name, bytes, fits: own }) => [
        name,
        printBytes(bytes),
        own === undefined ? '' : own ? 'fits' : 'does not fit',
      ]),
    ),
  ];
}
