// The backbones of `backbones/`, found by the `model_type` of a config or by the name that timm has for the architecture.
import { aimv2 } from './backbones/aimv2.ts';
import { beit } from './backbones/beit.ts';
import { dinov2Registers } from './backbones/dinov2-registers.ts';
import { dinov3 } from './backbones/dinov3.ts';
import { dinov3ConvNext } from './backbones/dinov3-convnext.ts';
import { eva02 } from './backbones/eva02.ts';
import { deit, dpt, hubVit, ijepa, mae } from './backbones/hub-vit.ts';
import { internVit } from './backbones/intern-vit.ts';
import { openClip } from './backbones/openclip.ts';
import { sam } from './backbones/sam.ts';
import { moco, timmVit } from './backbones/timm-vit.ts';
import { timmTower } from '../configs/timm.ts';
import type { BackboneType } from './backbone.ts';

export const backbones: readonly BackboneType[] = [
  aimv2,
  beit,
  deit,
  dinov2Registers,
  dinov3,
  dinov3ConvNext,
  dpt,
  eva02,
  hubVit,
  ijepa,
  internVit,
  mae,
  moco,
  openClip,
  sam,
  timmVit,
];

/** The kind of this `model_type`, or of this name of timm, whose part behind a dot says how it was trained; undefined when there is none. */
export function backboneOf(type: string): BackboneType | undefined {
  const [name = ''] = type.split('.');
  const family = timmTower(name)?.family;
  return (
    backbones.find(({ types }) => types.includes(name)) ??
    (family === 'vit' ? timmVit : family === 'eva02' ? eva02 : undefined)
  );
}
