// A connector of the zoo between towers and a language model: the configuration that fits their maps, as Opabinia's own directories have it.
import { desktopGpu } from '../../compiler/profile.ts';
import { OpabiniaError } from '../../dsl/index.ts';
import { isBelow } from '../../models/configs/param-shapes.ts';
import { connect } from '../../models/connectors/connector.ts';
import { factsOf } from '../../models/connectors/traced.ts';
import {
  assembledShapes,
  connectorFacts,
  connectorRoot,
  pictureTokenCount,
  type AssembledModel,
} from '../../models/multimodal/assembled-model.ts';
import { choose } from '../compare/search.ts';
import type { Encoder } from '../compare/encoders.ts';
import { connectorNamed, connectStored, hashOf } from './connector-config.ts';
import type { OwnConnector } from './own-connector.ts';
import type { Layout } from './layout.ts';
import type { LanguagePart, TowerPart } from './parts.ts';

/** What people call LLaVA's projectors. */
const aliases: Readonly<Record<string, { readonly name: string; readonly config: unknown }>> = {
  linear: { name: 'llava', config: { linears: [''] } },
  mlp2x: { name: 'llava', config: { linears: [0, 2] } },
  mlp2x_gelu: { name: 'llava', config: { linears: [0, 2] } },
};

/** Throws `OpabiniaError` for a connector that is not known, or that no configuration of its own makes fit. */
export async function zooLayout(
  name: string,
  language: LanguagePart,
  towers: readonly TowerPart[],
  tokens: number | undefined,
  mine?: OwnConnector,
): Promise<Layout> {
  const alias = mine === undefined && Object.hasOwn(aliases, name) ? aliases[name] : undefined;
  const connector = await connectorNamed(
    alias?.name ?? name,
    '--connector',
    mine === undefined ? [] : [mine.connector],
  );
  if (connector.towers === 'one' && towers.length > 1)
    throw new OpabiniaError(`'${name}' reads one tower, and ${towers.length} are given`, {
      op: 'assemble',
      advice: 'give one, or a connector of several: sva, mof, eagle',
    });
  const maps = towers.map(({ map }) => map);
  const { hidden, layers } = language.opened.language.config;
  const model = { name: 'the language model', width: hidden, layers, layerParameters: 0, attentionWidth: hidden };
  const base = { maps, towers: [], model, profile: desktopGpu, dtype: 'f32', question: 16 } as const;
  const chosen =
    alias === undefined
      ? choose(connector, towers.map(encoderOf), base, tokens)
      : { config: alias.config, note: '', setting: base };
  if (JSON.stringify(chosen.setting.maps) !== JSON.stringify(maps))
    throw new OpabiniaError(
      `'${name}' fits maps of ${chosen.setting.maps.map((map) => map.join(' × ')).join(', ')}, and the towers make ${maps.map((map) => map.join(' × ')).join(', ')}`,
      { op: 'assemble', advice: 'take a connector that reads maps of any grid, such as mlp2x' },
    );
  // What is read back from JSON is what is built.
  const config: unknown = JSON.parse(JSON.stringify(chosen.config));
  const used = connectStored(connector, config, '--connector');
  const [own, read] = [connect(connector, chosen.config), used].map((one) => factsOf(one, maps, hidden));
  if (JSON.stringify([...(own?.shapes ?? [])]) !== JSON.stringify([...(read?.shapes ?? [])]))
    throw new OpabiniaError(`the configuration of '${name}' cannot be written as JSON`, { op: 'assemble' });
  const assembled: AssembledModel = { language: language.opened.language, towers, connector: used };
  const { json } = language;
  const folders = towers.map(({ files }, k) => folderOf(files.directory, k));
  return {
    title: connector.title,
    tokens: pictureTokenCount(assembled),
    notes: chosen.note === '' ? [] : [`the connector's configuration: ${chosen.note}`],
    folders,
    json: {
      model_type: 'opabinia',
      text_config: json,
      towers: towers.map(({ side }, k) => ({ folder: folders[k], pixels: side })),
      connector: {
        name: connector.name,
        config,
        ...(mine === undefined ? {} : { own: { file: mine.file, hash: hashOf(connectorFacts(assembled)) } }),
      },
      ...Object.fromEntries(
        [
          'bos_token_id',
          'eos_token_id',
          'pad_token_id',
          'dtype',
          'torch_dtype',
          'quantization',
          'quantization_config',
        ].flatMap((key) => (json[key] === undefined ? [] : [[key, json[key]]])),
      ),
    },
    fresh: new Map([...assembledShapes(assembled)].filter(([path]) => isBelow(path, connectorRoot))),
  };
}

/** Below `towers/`: what it was called, and its number. */
function folderOf(directory: string, k: number): string {
  const last = directory.split(/[/\\]/).findLast((part) => part !== '' && part !== '.' && part !== '..') ?? '';
  const clean = last
    .replaceAll(/[^\w.-]+/g, '-')
    .replace(/^[^\w]+/, '')
    .slice(0, 80);
  return `${k}-${clean === '' ? 'tower' : clean}`;
}

function encoderOf({ tower, map, files }: TowerPart): Encoder {
  return {
    name: tower.kind,
    map,
    // No other grid than its own: the maps are not resampled.
    shared: map,
    heads: 1,
    layers: 1,
    classTokens: 0,
    source: files.directory,
  };
}
