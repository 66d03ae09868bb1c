// LLaVA-1.5 (arXiv 2310.03744), LLaVA-NeXT and LLaVA-OneVision (arXiv 2408.03326): CLIP or SigLIP, a two-layer MLP, and a language model that reads the tokens in place of `<image>`.
import { concat, OpabiniaError, rearrange, slice, type Float, type Params, type Tensor } from '../../../dsl/index.ts';
import { decoderShapes } from '../../configs/decoder-shapes.ts';
import { llavaClasses, type LlavaConfig } from '../../configs/llava.ts';
import { under, type ShapeEntry, type Shapes } from '../../configs/param-shapes.ts';
import { connect, type Connect, type MapShape } from '../../connectors/connector.ts';
import { llava } from '../../connectors/pointwise/llava.ts';
import { factsOf, type ConnectorFacts } from '../../connectors/traced.ts';
import { tokenCount } from '../../connectors/visual-tokens.ts';
import { clipShapes, clipVision } from '../../towers/clip.ts';
import { siglipVision } from '../../towers/siglip.ts';
import { siglipShapes } from '../../towers/siglip-shapes.ts';
import type { Pixels } from '../../towers/tower.ts';
import { hiddenState } from '../../towers/vit.ts';
import { placedShapes, projectorName, type LlavaNames } from './llava-names.ts';

/** Names and shapes of all parameters. The new names have the tower's without `vision_model`, as transformers 5 writes them. */
export function llavaShapes(config: LlavaConfig, names: LlavaNames = 'old'): Shapes {
  const { hidden } = config.language.config;
  const newline: readonly ShapeEntry[] = config.type === 'llava' ? [] : [['image_newline', [hidden]]];
  const body: readonly ShapeEntry[] = [
    ...under('vision_tower', towerShapes(config, names)),
    ...under(projectorName, connectorFacts(config).shapes),
    ...newline,
  ];
  return placedShapes(names, body, decoderShapes(config.language));
}

/** Without SigLIP's pooling head, which is not read. */
function towerShapes({ tower, vision }: LlavaConfig, names: LlavaNames): Iterable<ShapeEntry> {
  if (tower !== 'siglip') return clipShapes(vision, names === 'old' ? undefined : '');
  const all = [...siglipShapes(vision, 'hub')].filter(([name]) => !name.startsWith('vision_model.head.'));
  return names === 'old' ? all : all.map(([name, shape]): ShapeEntry => [name.replace(/^vision_model\./, ''), shape]);
}

const ownProjector = connect(llava, { linears: ['linear_1', 'linear_2'] });

function connectorOf(config: LlavaConfig): Connect {
  return config.connector ?? ownProjector;
}

/** The tower's patches as a map; with the class token they are not a grid, and stand in one row. */
function mapShape({ vision: { image, patch, width }, layers, dropClass }: LlavaConfig): MapShape {
  const side = Math.floor(image / patch);
  const channels = width * layers.length;
  return dropClass ? [side, side, channels] : [1, side * side + 1, channels];
}

const known = new WeakMap<LlavaConfig, ConnectorFacts>();

/** Layout and parameters of the connector, from its trace. */
function connectorFacts(config: LlavaConfig): ConnectorFacts {
  const facts = known.get(config) ?? factsOf(connectorOf(config), [mapShape(config)], config.language.config.hidden);
  known.set(config, facts);
  return facts;
}

/**
 * Tokens of one view, as the connector gives them. Throws `OpabiniaError` where pictures have tiles, for class tokens and for a connector that
 * does not keep the tower's grid: the tokens of its tiles would be no grid to put together.
 */
export function viewTokens(config: LlavaConfig): number {
  const tiled = config.type !== 'llava';
  const { title } = llavaClasses[config.type];
  if (tiled && !config.dropClass)
    throw new OpabiniaError(
      "vision_feature_select_strategy is 'full': tokens with a class token are not a grid to put tiles together on",
      { op: 'llava', advice: `${title} has 'default' with CLIP` },
    );
  const count = tokenCount(connectorFacts(config).layout);
  const [rows, columns] = mapShape(config);
  if (tiled && count !== rows * columns)
    throw new OpabiniaError(
      `'${connectorOf(config).name}' gives ${count} tokens of a grid of ${rows}×${columns}, and ${title} puts whole grids together`,
      { op: 'llava', advice: 'take a connector that keeps every token, or LLaVA-1.5' },
    );
  return count;
}

/** Tokens of pictures as the language model reads them: of the tower's chosen hidden states, without a norm, through the projector. */
export function llavaTokens(body: Params, pixels: Pixels, config: LlavaConfig): Tensor<'b n e', Float> {
  const encode = config.tower === 'siglip' ? siglipVision : clipVision;
  const encoded = encode(body.at('vision_tower'), pixels, config.vision);
  const states = concat(
    config.layers.map((layer) => hiddenState(encoded, layer)),
    'c',
  );
  const patches = slice(states, 'n', { start: config.dropClass ? encoded.classTokens : 0 });
  const map = rearrange(patches, 'b (h w) c -> b h w c', { h: mapShape(config)[0] });
  const context = { width: config.language.config.hidden };
  return connectorOf(config).build(body.at(projectorName), [map], context).tokens;
}
