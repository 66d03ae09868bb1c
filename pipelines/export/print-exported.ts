// What `exportModels` wrote, as tables.
import { printAxes } from '../../dsl/index.ts';
import { formatCount, formatTable } from '../../dsl/text/table.ts';
import { printBytes } from '../../runtime/device/memory-budget.ts';
import type { Exported } from './export-models.ts';

/** What was written: a row for each model, then its inputs and outputs. */
export function printExported(exported: readonly Exported[]): string {
  const rows = exported.map(({ path, model }) => [
    path,
    printBytes(model.bytes.length),
    formatCount([...model.operators.values()].reduce((a, b) => a + b, 0)),
    [...model.operators]
      .filter(([name]) => fusedNames.test(name))
      .map(([name, count]) => `${count} ${name}`)
      .join(', '),
  ]);
  const ports = exported.flatMap(({ name, model }) => [
    ...model.inputs.map((port) => [name, `${port.kind} ${port.tensor}`, printAxes(port.axes), port.dtype]),
    ...model.outputs.map((port) => [name, `→ ${port.kind} ${port.tensor}`, printAxes(port.axes), port.dtype]),
  ]);
  return [
    formatTable(
      [
        { title: 'model' },
        { title: 'size', align: 'right' },
        { title: 'operators', align: 'right' },
        { title: 'composites' },
      ],
      rows,
    ),
    formatTable([{ title: 'graph' }, { title: 'tensor' }, { title: 'axes' }, { title: 'dtype' }], ports),
  ].join('\n\n');
}

const fusedNames = /Normalization|Gelu|Attention|Softmax|Conv/;
