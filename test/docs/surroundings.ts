// The examples of all faces but the DSL's, as files for tsc: each in a function of its own, among the names that examples take for granted.
import { faces, type ApiEntry, type ApiFace } from '../../docs/generate-api.ts';

/** Names of everyday things, in all examples. */
const common = `
import type { Float, FloatSource, Graph, Params, ParamSource, Tensor, Trace } from '../../dsl/index.ts';
import type { Connector, ConnectorContext, InjectionState } from '../../models/connectors/connector.ts';
import type { VisualTokens } from '../../models/connectors/visual-tokens.ts';
import type { Plan } from '../../compiler/plan.ts';
import type { Device } from '../../runtime/device/device.ts';
import type { Recipe } from '../../pipelines/train/recipe/recipe.ts';
declare const t: Trace; declare const p: Params; declare const graph: Graph; declare const params: ParamSource & FloatSource;
declare const plan: Plan; declare const device: Device; declare const recipe: Recipe;
declare const text: string; declare const path: string; declare const folder: string;
declare const map: Tensor<'b h w c', Float>; declare const maps: readonly Tensor<'b h w c', Float>[];
declare const pixels: Tensor<'b h w c', Float>;
declare const [grid, whole, tile]: readonly [Tensor<'b h w e', Float>, Tensor<'b h w e', Float>, Tensor<'b h w e', Float>];
declare const tokens: Tensor<'b n e', Float>; declare const attended: Tensor<'b q c', Float>; declare const mark: Tensor<'e', Float>;
declare const keys: Tensor; declare const values: Tensor;
declare const mine: Connector<{ readonly side: number }>; declare const made: VisualTokens;
declare const context: ConnectorContext; declare const state: InjectionState;
`;

/** Names that are another thing in each example; `F` is the function that it shows. */
const own: Readonly<Record<string, string>> = {
  profileTable: 'rows: Parameters<F>[0]',
  joinSources: 'tower: ParamSource, language: ParamSource',
  'opabinia/runtime evaluate': "inputs: Parameters<F>[1]['inputs']",
  decodeGraph: 'config: Parameters<typeof llama>[0], sizes: Parameters<F>[2]',
  prefillGraph: 'config: Parameters<typeof llama>[0], sizes: Parameters<F>[2]',
  turnGraph: 'config: Parameters<typeof llama>[0], options: Parameters<F>[2]',
  clipFeatures: 'config: Parameters<F>[2]',
  convNextFeatures: 'config: Parameters<F>[2]',
  dinov2Features: 'config: Parameters<F>[2]',
  siglipFeatures: 'config: Parameters<F>[2]',
  buildData: 'options: Parameters<F>[0]',
  probeOwn: 'options: Parameters<F>[1]',
  probeShapes: 'options: Parameters<F>[1]',
  planDirectory: 'options: Parameters<F>[1]',
  verifyFile: 'backend: Parameters<F>[1]',
};

/** Files with the examples of all faces but the first, by name. */
export function exampleFiles(api: readonly ApiFace[]): ReadonlyMap<string, string> {
  return new Map(api.slice(1).map(({ name, entries }, i) => [`face-${i + 1}.ts`, fileOf(api, name, entries)]));
}

function fileOf(api: readonly ApiFace[], face: string, entries: readonly ApiEntry[]): string {
  const examples = entries.filter(({ kind, example }) => kind === 'function' && example !== '');
  const words = new Set(examples.flatMap(({ example }) => example.match(/\b[A-Za-z]\w*/g) ?? []));
  // Names of the face itself before those of others.
  const places = new Map<string, string>();
  for (const [i, other] of [...api.entries()].toSorted(([, a], [, b]) => Number(b.name === face) - Number(a.name === face)))
    for (const { name, kind, file } of other.entries)
      if (!/type|inner/.test(kind) && name !== 'Tensor' && words.has(name) && !places.has(name)) {
        const from = faces[i]?.file ?? '';
        places.set(name, `import { ${name} } from '../../${from.endsWith('.ts') ? from : file}';`);
      }
  return [
    common,
    ...places.values(),
    ...examples.map(
      ({ name, example }) =>
        `export async function show_${name}(${(own[`${face} ${name}`] ?? own[name] ?? '').replaceAll('F>', `typeof ${name}>`)}): Promise<void> {\n{\n${example}\n}\n}`,
    ),
  ].join('\n');
}

/** A page's file of code with the sources in place of the package. The face of connectors is written beside it. */
export function fromSources(code: string): string {
  const files = new Map<string, string>(faces.map(({ name, file }) => [name, file]));
  return code.replaceAll(/from '(opabinia[^']*)'/g, (_, name: string) => {
    const file = files.get(name) ?? '';
    return `from '${file.endsWith('.ts') ? `../../${file}` : './connectors-face.ts'}'`;
  });
}

/** What `opabinia/connectors` has beside the published ones. */
export const connectorsFace = `export * from '../../models/connectors/connector.ts';
export * from '../../models/connectors/visual-tokens.ts';
export * from '../../models/connectors/traced.ts';
`;

/** What blocks leave out that stand beside the code they belong to, by page and number. */
export const unsaid: Readonly<Record<string, string>> = {
  'README.md 1': `import { einsum, gelu, layerNorm, linear, rearrange, reduce, softmax, stack, type Float, type Params, type Tensor } from '../../index.ts';
import type { FeatureMap } from '../../models/index.ts';
`,
  'README.md 2': `declare const graph: import('../../index.ts').Graph; declare const device: import('../../index.ts').Device;
`,
};
