// A comparison as a table for terminals, as CSV, as JSON.
import { formatCount, formatTable, type Column } from '../../../dsl/text/table.ts';
import { describeLayout } from '../../../models/connectors/visual-tokens.ts';
import { printBytes } from '../../../runtime/device/memory-budget.ts';
import type { Comparison, Row } from '../compare.ts';
import type { Keeps } from '../sight/sight.ts';
import { plural } from '../../../dsl/text/plural.ts';

export function printComparison({ options, rows, refused }: Comparison): string {
  const right = (title: string): Column => ({ title, align: 'right' });
  const columns: readonly Column[] = [
    { title: 'connector' },
    right('tokens'),
    { title: 'layout' },
    right('parameters'),
    right('trained'),
    right('forward'),
    right('backward'),
    right('bytes'),
    right('peak'),
    right('peak, training'),
    right('kernels'),
    right('dispatches'),
    right('prefill'),
    right('roofline'),
    { title: 'keeps' },
    { title: 'note' },
    { title: 'source' },
  ];
  const table = formatTable(
    columns,
    rows.map((row) => {
      const { cost } = row;
      const share = cost.parameters === 0 ? 'none' : `${Math.round((100 * cost.trained) / cost.parameters)} %`;
      return [
        row.listed.connector.name,
        `${cost.tokensIn} → ${cost.tokensOut}`,
        shortened(describeLayout(cost.layout), 36),
        formatCount(cost.parameters),
        share,
        formatCount(cost.forward),
        formatCount(cost.backward),
        printBytes(cost.bytes),
        printBytes(cost.peakInference),
        printBytes(cost.peakTraining),
        String(cost.kernels),
        String(cost.dispatches),
        formatCount(cost.prefill),
        milliseconds(cost.roofline),
        printKeeps(row.keeps),
        [row.note, insideOf(row)].filter((text) => text !== '').join('; '),
        row.listed.connector.source,
      ];
    }),
  );
  const { encoders, model, profile, dtype } = options;
  const title = `${encoders.map(({ name }) => name).join(', ')} to ${model.name}, ${dtype}, one picture, ${profile.name}; forward, backward and prefill in FLOP; roofline: the device at its best`;
  const left = refused.map(
    ({ listed, reason }) => `  ${listed.connector.name}: ${reason.message.replaceAll('\n', '\n    ')}`,
  );
  return [title, '', table, ...(left.length === 0 ? [] : ['', 'not compared:', ...left])].join('\n');
}

function shortened(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

function insideOf({ cost, listed }: Row): string {
  const { inject } = listed.connector;
  return inject === undefined ? '' : `acts after ${plural(cost.injected.length, 'layer')} of the language model`;
}

export function printKeeps(keeps: Keeps | undefined): string {
  if (keeps === undefined) return '?';
  const kept = (['grid', 'order', 'regions'] as const).filter((what) => keeps[what]);
  return kept.length === 0 ? 'nothing' : kept.join(' ');
}

function milliseconds(seconds: number): string {
  return `${(seconds * 1e3).toPrecision(2)} ms`;
}

/** Plain figures of a row, in the units of `Cost`. */
function figures(row: Row): Readonly<Record<string, string | number>> {
  const { cost } = row;
  return {
    connector: row.listed.connector.name,
    family: row.listed.family,
    tokensIn: cost.tokensIn,
    tokensOut: cost.tokensOut,
    layout: describeLayout(cost.layout),
    parameters: cost.parameters,
    trained: cost.trained,
    forwardFlop: cost.forward,
    backwardFlop: cost.backward,
    bytes: cost.bytes,
    peakInferenceBytes: cost.peakInference,
    peakTrainingBytes: cost.peakTraining,
    kernels: cost.kernels,
    dispatches: cost.dispatches,
    prefillFlop: cost.prefill,
    rooflineSeconds: cost.roofline,
    injectedLayers: cost.injected.length,
    keeps: printKeeps(row.keeps),
    note: row.note,
    source: row.listed.connector.source,
  };
}

export function comparisonCsv({ rows }: Comparison): string {
  const lines = rows.map(figures);
  const [first = {}] = lines;
  const quoted = (value: string | number): string =>
    typeof value === 'number' ? String(value) : /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  return [Object.keys(first).join(','), ...lines.map((line) => Object.values(line).map(quoted).join(','))].join('\n');
}

export function comparisonJson({ options, rows, refused }: Comparison): object {
  return {
    encoders: options.encoders.map(({ name }) => name),
    languageModel: options.model.name,
    device: options.profile.name,
    dtype: options.dtype,
    tokens: options.tokens ?? null,
    connectors: rows.map((row) => ({ ...figures(row), config: row.config })),
    refused: refused.map(({ listed, reason }) => ({ connector: listed.connector.name, reason: reason.message })),
  };
}
