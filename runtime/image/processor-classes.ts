// What a preprocessor_config.json leaves out: each class of transformers has values of its own (image_processing_*.py, 5.18).
import type { Rgb } from './image.ts';

export type Resize =
  | { readonly kind: 'exact'; readonly height: number; readonly width: number }
  | { readonly kind: 'shortest' | 'longest'; readonly edge: number }
  /** DPT's: sides in proportion, by the scale nearer to 1 of those that fit height and width; then the nearest multiples. */
  | { readonly kind: 'nearest'; readonly height: number; readonly width: number; readonly multiple: number };

export interface ProcessorClass {
  readonly size: Resize;
  /** A size of one number is that of both sides; else of the shorter one. */
  readonly bothSides: boolean;
  /** Side of the part around the centre that is kept; undefined where nothing is cut off. */
  readonly crop: number | undefined;
  /** Whether anything is cut off where the file does not say; undefined: where it states a size for that. */
  readonly cuts: boolean | undefined;
  /** Pillow's code. */
  readonly resample: number;
  readonly mean: Rgb;
  readonly std: Rgb;
  /** Scaled before they are resized, so that nothing is rounded to bytes. */
  readonly inFloat?: true;
  /** SAM's: zeros stand below the normalised picture and on its right, up to a square of this side; a size is that of the longer side. */
  readonly padTo?: number;
  /** DPT's: `keep_aspect_ratio` and `ensure_multiple_of` are read. */
  readonly inMultiples?: true;
  /** ConvNeXt's: what is kept of the shorter side. */
  readonly cropPart?: number;
}

const shortest = (edge: number): Resize => ({ kind: 'shortest', edge });
const both = (side: number): Resize => ({ kind: 'exact', height: side, width: side });

const clip: ProcessorClass = {
  size: shortest(224),
  bothSides: false,
  crop: 224,
  cuts: true,
  resample: 3,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};
const whole: ProcessorClass = {
  size: both(224),
  bothSides: true,
  crop: undefined,
  cuts: false,
  resample: 3,
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
};
const imageNet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;
/** Whole pictures with CLIP's mean. */
const ofClip: ProcessorClass = { ...whole, size: both(384), mean: clip.mean, std: clip.std };
/** Of a file that names no class that is known. */
const nameless: ProcessorClass = { ...clip, cuts: undefined };

const classes: ReadonlyMap<string, ProcessorClass> = new Map<string, ProcessorClass>([
  ['CLIP', clip],
  ['ChineseCLIP', clip],
  ['Bit', clip],
  ['Llava', clip],
  ['LlavaNext', clip],
  ['Siglip', { ...whole, bothSides: false }],
  ['ViT', { ...whole, resample: 2 }],
  ['Beit', { ...whole, crop: 224 }],
  ['DeiT', { ...whole, size: both(256), crop: 224, cuts: true }],
  ['DPT', { ...whole, size: both(384), inMultiples: true }],
  ['DINOv3ViT', { ...whole, ...imageNet, resample: 2, inFloat: true }],
  ['Sam', { ...whole, ...imageNet, size: { kind: 'longest', edge: 1024 }, resample: 2, padTo: 1024 }],
  ['LlavaOnevision', ofClip],
  ['GotOcr2', ofClip],
  ['ConvNext', { ...whole, size: shortest(384), bothSides: false, cropPart: 224 / 256 }],
]);

/** Of `SiglipImageProcessorFast`, `ViTFeatureExtractor`. */
export function processorClass(name: string | null | undefined): ProcessorClass {
  return classes.get((name ?? '').replace(/(?:ImageProcessor(?:Fast|Pil)?|FeatureExtractor)$/, '')) ?? nameless;
}

export interface Shaping {
  readonly resize: Resize | undefined;
  readonly crop: { readonly height: number; readonly width: number } | undefined;
}

/** The multiple that is nearest, and of two as near the even one, as Python rounds. */
function nearestMultiple(size: number, multiple: number): number {
  const [below, rest] = [Math.floor(size / multiple), (size / multiple) % 1];
  return multiple * (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below);
}

/** `DPTImageProcessor`'s size of a picture (`get_resize_output_image_size`). */
export function proportionate(
  picture: { readonly height: number; readonly width: number },
  { height, width, multiple }: { readonly height: number; readonly width: number; readonly multiple: number },
): { readonly height: number; readonly width: number } {
  const [byHeight, byWidth] = [height / picture.height, width / picture.width];
  const scale = Math.abs(1 - byWidth) < Math.abs(1 - byHeight) ? byWidth : byHeight;
  return {
    height: nearestMultiple(scale * picture.height, multiple),
    width: nearestMultiple(scale * picture.width, multiple),
  };
}

/** The same where proportions are not kept: one size for all pictures. */
export function inMultiples(
  { height, width }: { readonly height: number; readonly width: number },
  multiple: number,
): Resize {
  return { kind: 'exact', height: nearestMultiple(height, multiple), width: nearestMultiple(width, multiple) };
}

/**
 * `ConvNextImageProcessor`: below 384 the shorter side is made longer, `int(edge / crop_pct)`, and a square of `edge` is kept of that;
 * larger pictures are brought to a square as they are.
 */
export function keptPart(edge: number, part: number): Shaping {
  return edge < 384
    ? { resize: shortest(Math.trunc(edge / part)), crop: { height: edge, width: edge } }
    : { resize: both(edge), crop: undefined };
}
