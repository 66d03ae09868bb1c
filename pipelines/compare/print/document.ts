// docs/connectors.md, from the connectors themselves: what each computes, what its tokens see, what it costs at its reference setting.
import { desktopGpu } from '../../../compiler/profile.ts';
import { plural } from '../../../dsl/text/plural.ts';
import { formatCount } from '../../../dsl/text/table.ts';
import type { AnyConnector } from '../../../models/connectors/connector.ts';
import { describeLayout, type Layout } from '../../../models/connectors/visual-tokens.ts';
import { printBytes } from '../../../runtime/device/memory-budget.ts';
import { languageModelNamed } from '../language-models.ts';
import { costOf, counted, type Cost } from '../cost/measure.ts';
import type { Listed } from '../registry.ts';
import { referenceOf } from '../search.ts';
import { keepsOf, sightOf, type Sight } from '../sight/sight.ts';

const families: Readonly<Record<string, string>> = {
  pointwise: 'Pointwise: every token is kept',
  'space-to-depth': 'Space to depth: a square of patches becomes one token',
  pooling: 'Pooling: neighbours are averaged or picked',
  convolutional: 'Convolutional',
  queries: 'Global queries: learned vectors attend to the whole picture',
  regions: 'Regions: each query attends to its own part',
  fusion: 'Fusion: layers, towers and scales together',
  injection: 'In the language model',
  selection: 'Selection and merging, with static shapes',
  layout: 'Layout: tiles, newlines, thumbnails, separators',
};

const shades = ['·', '░', '▒', '▓', '█'];

/** The whole page. Pure: the same connectors give the same text. */
export function connectorsPage(listed: readonly Listed[]): string {
  const known = Object.keys(families);
  const order = [...new Set(listed.map(({ family }) => family))].toSorted(
    (a, b) => known.indexOf(a) - known.indexOf(b),
  );
  const sections = order.map((family) => {
    const own = listed.filter((one) => one.family === family);
    return [`## ${families[family] ?? family}`, ...own.map(({ connector }) => section(connector))].join('\n\n');
  });
  const contents = order.map((family) => {
    const own = listed.filter((one) => one.family === family);
    const links = own.map(({ connector }) => `[${connector.name}](#${anchorOf(connector)})`);
    return `- ${families[family] ?? family}: ${links.join(', ')}`;
  });
  return `${[introduction(listed.length), contents.join('\n'), ...sections].join('\n\n')}\n`;
}

function introduction(count: number): string {
  return [
    '# Connectors',
    '',
    `${plural(count, 'connector')} between vision encoders and a language model, each one file below \`models/connectors/\`. This page is generated from them (\`npx opabinia compare --document docs/connectors.md\`); nothing in it is typed by hand.`,
    '',
    'Of each: what one of its tokens sees (left: the cells of a small map, darker where a change of the cell changes the token more; right: its tokens, the one that looks marked), what it computes, and what it costs at its reference setting, the first of its presets: one picture, f16, in kernels after all passes. What a step of training holds is what the plan of one with AdamW holds beside weights and moments: its gradients, two bytes a parameter, among it. `x` is a patch, `y` a token, `s2d` puts the channels of a square of patches side by side; biases are not written out.',
    '',
    '`npx opabinia compare` puts them side by side on other encoders, another language model, another number of tokens.',
  ].join('\n');
}

function anchorOf({ title }: AnyConnector): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} -]/gu, '')
    .replaceAll(' ', '-');
}

function section(connector: AnyConnector): string {
  const preset = referenceOf(connector);
  const [name = ''] = Object.keys(connector.presets);
  const setting = {
    maps: preset.maps,
    towers: preset.maps.map(() => ({ heads: 16, classTokens: 1 })),
    picture: preset.picture,
    model: { ...languageModelNamed('llama-3-8b'), width: preset.width, layers: preset.layers ?? 32 },
    profile: desktopGpu,
    dtype: 'f16',
    question: 64,
  } as const;
  const cost = costOf(counted(connector, preset.config, setting), setting);
  const sight = sightOf(connector, [8, 6, 12, 4, 24]);
  const paper = connector.paper.startsWith('arXiv ')
    ? `[${connector.paper}](https://arxiv.org/abs/${connector.paper.slice('arXiv '.length)})`
    : `<${connector.paper}>`;
  return [
    `### ${connector.title}`,
    [`\`${connector.name}\` · ${connector.year} · ${paper} · code: ${connector.source}`],
    '```',
    ...connector.mathematics,
    '```',
    ...(sight === undefined ? [] : ['```', ...picture(sight), '```']),
    costLine(name, preset.maps, cost),
    ...(sight === undefined ? [] : [`It keeps ${keptWords(sight)}.`]),
    ...insideLines(connector),
    ...(Object.keys(connector.presets).slice(1, 2).length === 0
      ? []
      : [`Presets: ${Object.keys(connector.presets).join(', ')}.`]),
  ].join('\n');
}

function costLine(name: string, maps: readonly (readonly number[])[], cost: Cost): string {
  const grids = [...new Set(maps.map((map) => map.join('×')))].join(', ');
  return `**${name}**: ${maps.length > 1 ? `${maps.length} maps of ` : ''}${grids} → ${plural(cost.tokensOut, 'token')} (${describeLayout(cost.layout)}), ${formatCount(cost.parameters)} parameters, ${formatCount(cost.forward)} FLOP forward and ${formatCount(cost.backward)} backward, ${printBytes(cost.peakInference)} of activations at most (${printBytes(cost.peakTraining)} in a step of training), ${plural(cost.dispatches, 'dispatch', 'dispatches')} of ${plural(cost.kernels, 'kernel')}.`;
}

function keptWords(sight: Sight): string {
  const { grid, order, regions } = keepsOf(sight);
  const kept = [
    grid ? 'the grid' : order ? 'the order' : '',
    regions ? 'regions: no token sees more than half' : '',
  ].filter((text) => text !== '');
  return kept.length === 0 ? 'no order of places: tokens may see everything' : kept.join(' and ');
}

function insideLines({ inject }: AnyConnector): readonly string[] {
  return inject === undefined
    ? []
    : [`Inside the language model it reads ${inject.reads}, and writes ${inject.writes}.`];
}

/** Left what the middle token sees, right where it stands among the tokens. */
function picture({ rows, columns, layout, weights }: Sight): readonly string[] {
  const looking = weights.flatMap((own, token) => (own.some((x) => x > 0) ? [token] : []));
  // In the middle, and not at the end of a row.
  const halfRow = Math.floor((layout.find(({ role }) => role === 'cell')?.count ?? 0) / 2);
  const token = looking[Math.floor((looking.length - 1) / 2) + halfRow] ?? looking[0] ?? 0;
  const own = weights[token] ?? new Float64Array();
  const left = Array.from({ length: rows }, (_, i) =>
    Array.from({ length: columns }, (_column, j) => shadeOf(own[i * columns + j] ?? 0)).join(' '),
  );
  const right = tokenLines(layout, token);
  const height = Math.max(left.length, right.length);
  const blank = ' '.repeat(left[0]?.length ?? 0);
  return Array.from({ length: height }, (_, i) => {
    const arrow = i === Math.floor(Math.min(left.length, right.length) / 2) ? '  →  ' : '     ';
    return `${left[i] ?? blank}${arrow}${right[i] ?? ''}`.trimEnd();
  });
}

function shadeOf(weight: number): string {
  if (weight === 0) return shades[0] ?? '';
  return shades[Math.min(4, 1 + Math.floor(weight * 3.999))] ?? '';
}

const marks: Readonly<Record<string, string>> = {
  cell: '□',
  query: '○',
  newline: '↵',
  separator: '|',
  start: '⊢',
  end: '⊣',
};

/** A line for each row of a grid, with its newline; other tokens eight to a line. At most as many lines as are readable. */
function tokenLines(layout: Layout, token: number): readonly string[] {
  const lines: string[] = [];
  let at = 0;
  for (const { role, count } of layout) {
    const line = Array.from({ length: count }, (_, i) =>
      at + i === token ? (role === 'query' ? '●' : '■') : (marks[role] ?? '?'),
    );
    at += count;
    if (role === 'newline') lines.push(`${lines.pop() ?? ''} ${line.join(' ')}`);
    else if (role === 'query') for (let i = 0; i < line.length; i += 16) lines.push(line.slice(i, i + 16).join(' '));
    else lines.push(line.join(' '));
  }
  return lines.length > 24 ? [...lines.slice(0, 23), `… ${lines.length - 23} more`] : lines;
}
