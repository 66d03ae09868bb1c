// Golden kind `connector`: connectors by name, from features to tokens, each with the parameters and the layout of its own code.
import { nearestNames, OpabiniaError } from '../../../dsl/error.ts';
import { trace } from '../../../dsl/index.ts';
import { importFolder } from '../../folder.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import { GoldenBuild, type Adapters } from '../golden-build.ts';
import { OutputRecorder, type GoldenFile } from '../golden-file.ts';
import type { GoldenModel, Kind } from '../kind.ts';

/** Every file of `connectors/` has a table of adapters: there is nothing to register. */
const adapters = new Map(
  (await importFolder(new URL('../connectors/', import.meta.url))).flatMap((module) =>
    Object.entries((module.exports['adapters'] ?? {}) as Adapters),
  ),
);

export const connector: Kind = (file): GoldenModel => {
  const name = file.config.text('name');
  const adapt = adapters.get(name);
  if (adapt === undefined)
    throw new OpabiniaError(`${file.path} is of the unknown connector '${name}'`, {
      op: 'verify',
      advice: `the nearest known ones are ${nearestNames(name, adapters.keys()).join(', ')}`,
    });
  const recorder = new OutputRecorder(file);
  let host: ReadonlyMap<string, Numbers> = new Map();
  let inputs: ReadonlyMap<string, Numbers> = new Map();
  const graph = trace(
    file.checkpoint,
    (t) => {
      const golden = new GoldenBuild(file, t, recorder);
      host = adapt(golden) ?? host;
      ({ inputs } = golden);
      return recorder.tensors;
    },
    { unread: ['input.', 'output.', ...unused(file)] },
  );
  const bounds = tolerances(file);
  return {
    graph,
    host,
    inputs,
    // What has no bound of its own is a count.
    tolerance: (output) => ({ absolute: bounds.get(output) ?? 0, relative: 0 }),
  };
};

/** Weights that the file itself says no output depends on: a model may leave them unread. */
function unused(file: GoldenFile): readonly string[] {
  const names = file.config.raw('weights_without_effect');
  return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : [];
}

/** `tolerance_abs`: what each output may differ by. */
function tolerances(file: GoldenFile): ReadonlyMap<string, number> {
  const bounds = file.config.raw('tolerance_abs');
  return new Map(
    typeof bounds === 'object' && bounds !== null
      ? Object.entries(bounds).filter((entry): entry is [string, number] => typeof entry[1] === 'number')
      : [],
  );
}
