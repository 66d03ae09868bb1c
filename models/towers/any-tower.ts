// Any vision tower by its config alone: those with a config of their own (CLIP, SigLIP, DINOv2, ConvNeXt), and the backbones.
import { OpabiniaError, randomParams, trace, type Params } from '../../dsl/index.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import { ConfigReader } from '../configs/config-reader.ts';
import { statedTower, type StatedTower } from '../configs/timm.ts';
import { asObject } from '../configs/fields.ts';
import { readTower } from '../configs/read.ts';
import { nativeSide, towerPixels, towerTypes, type TowerConfig } from '../configs/towers.ts';
import type { MapShape } from '../connectors/connector.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { backboneMap } from './backbone.ts';
import { backboneOf, backbones } from './backbones.ts';
import { towerMap } from './tower-map.ts';
import type { PixelNorm, Pixels } from './tower.ts';

export interface AnyTower {
  /** `clip`, `dinov3-vit`. */
  readonly kind: string;
  /** Of those whose checkpoints' names and sizes are known without a trace. */
  readonly config: TowerConfig | undefined;
  /** Side of the pictures that it was made for, where the config says so. */
  readonly side: number | undefined;
  /** How its pictures are made where no processor says so; undefined where nobody knows. */
  readonly pixels: PixelNorm | undefined;
  /** Prefixes of what its checkpoints hold besides. */
  readonly unread: readonly string[];
  readonly map: (p: Params, pixels: Pixels) => FeatureMap;
}

/** A `config.json` of a tower, of transformers, timm or open_clip; `where` names it in errors. Throws `OpabiniaError`. */
export function readAnyTower(parsed: unknown, where: string): AnyTower {
  const given = asObject(parsed, where);
  const stated = statedTower(given);
  const json = stated?.json ?? given;
  const named = json['model_type'] ?? stated?.name;
  const type = typeof named === 'string' ? (innerBackbone(json) ?? backboneOf(named)) : undefined;
  if (type !== undefined) {
    const backbone = type.read(new ConfigReader(json, where));
    const inner = [json, json['model_args'], json['vision_config'], json['backbone_config']];
    const side = stated?.side ?? inner.map(sideOf).find((each) => each !== undefined);
    const { mean, std } = stated ?? {};
    return {
      kind: type.kind,
      config: undefined,
      side,
      pixels:
        mean === undefined || std === undefined || side === undefined ? undefined : { side, mean, std, padding: mean },
      unread: type.unread ?? [],
      map: (p, pixels) => backboneMap(backbone.encode(p, pixels)),
    };
  }
  if (typeof json['model_type'] === 'string' && !Object.hasOwn(towerTypes, json['model_type'])) {
    const known = [...Object.keys(towerTypes), ...backbones.flatMap(({ types }) => types)];
    throw new OpabiniaError(
      `${where} is of model_type '${json['model_type'].slice(0, 80)}', which is not a vision tower`,
      {
        op: 'config',
        advice: nameAdvice(json['model_type'], known),
      },
    );
  }
  const config = readTower(given, where);
  return {
    kind: config.tower,
    config,
    side: nativeSide(config),
    pixels: statedPixels(config, stated),
    unread: [],
    map: (p, pixels) => towerMap(p, pixels, config),
  };
}

/** What a file says of pictures counts; margins of SigLIP's are those that Cambrian-1 gives it. */
function statedPixels(config: TowerConfig, { mean, std }: Pick<Partial<StatedTower>, 'mean' | 'std'> = {}): PixelNorm {
  const own = towerPixels[config.tower];
  const side = nativeSide(config) ?? own.side;
  return mean === undefined || std === undefined
    ? { ...own, side }
    : { side, mean, std, padding: config.tower === 'siglip' ? own.padding : mean };
}

/** What a DPT is made of, where it says so: that of MiDaS 3.1 is a BEiT. */
function innerBackbone(json: Readonly<Record<string, unknown>>): ReturnType<typeof backboneOf> {
  const inner = json['backbone_config'];
  const type: unknown =
    json['model_type'] === 'dpt' && typeof inner === 'object' && inner !== null && 'model_type' in inner
      ? inner.model_type
      : undefined;
  return typeof type === 'string' ? backboneOf(type) : undefined;
}

function sideOf(json: unknown): number | undefined {
  const stated: unknown =
    typeof json !== 'object' || json === null
      ? undefined
      : 'image_size' in json
        ? json.image_size
        : 'img_size' in json
          ? json.img_size
          : undefined;
  const side: unknown = Array.isArray(stated) ? stated[0] : stated;
  return typeof side === 'number' && Number.isInteger(side) && side >= 1 && side <= 8_192 ? side : undefined;
}

/** Rows, columns and channels of its map of a square picture. Throws what tracing it throws. */
export function mapShapeOf(tower: AnyTower, side: number): MapShape {
  let shape: MapShape = [0, 0, 0];
  trace(randomParams(0), (t) => {
    const map = tower.map(t.params, t.input('pixels', 'b h w c', { b: 1, h: side, w: side, c: 3 }));
    shape = [map.size('h'), map.size('w'), map.size('c')];
    return { map };
  });
  return shape;
}
