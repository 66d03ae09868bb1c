// The 23 vision backbones of Cambrian-1's study (arXiv 2406.16860, §2) as data: what is loaded, at which resolution, what is tapped, how
// many tokens a connector is given.

export interface StudyRow {
  readonly name: string;
  /** As the study's code loads it; absent where no public file is known. */
  readonly checkpoint?: string | undefined;
  /** Golden kind of the model file, and of `verify`. */
  readonly kind: string;
  /** Side of the picture, and pixels of a side that one place of the map is of. */
  readonly side: number;
  readonly patch: number;
  /** Channels of the map. */
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly classTokens: number;
  /** normed: behind the tower's last norm. last: of the last block. penultimate: of the one before. */
  readonly tap: 'normed' | 'last' | 'penultimate';
  /** Tokens in the study: those of the grid, or 576 where the map is resampled to 24 × 24. */
  readonly tokens: number;
}

const large = { width: 1024, layers: 24, heads: 16, classTokens: 1, tap: 'normed' } as const;
const huge = { width: 1280, layers: 32, heads: 16, classTokens: 1, tap: 'normed' } as const;
const laion = 'laion/CLIP-convnext';
const convNext = {
  kind: 'convnext',
  patch: 32,
  heads: 1,
  classTokens: 0,
  tap: 'last',
  tokens: 576,
  layers: 36,
} as const;

export const study: readonly StudyRow[] = [
  {
    ...large,
    name: 'clip-l-336',
    checkpoint: 'openai/clip-vit-large-patch14-336',
    kind: 'clip-vit',
    side: 336,
    patch: 14,
    tap: 'penultimate',
    tokens: 576,
  },
  {
    ...large,
    name: 'dfn-clip-l',
    checkpoint: 'apple/DFN2B-CLIP-ViT-L-14',
    kind: 'openclip-vit',
    side: 224,
    patch: 14,
    tokens: 256,
  },
  {
    ...huge,
    name: 'dfn-clip-h',
    checkpoint: 'apple/DFN5B-CLIP-ViT-H-14-378',
    kind: 'openclip-vit',
    side: 378,
    patch: 14,
    tokens: 729,
  },
  {
    ...large,
    name: 'eva-clip-02-l',
    checkpoint: 'timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k',
    kind: 'eva02-vit',
    side: 336,
    patch: 14,
    tokens: 576,
  },
  { ...large, name: 'siglip-l', kind: 'siglip-vit', side: 384, patch: 16, classTokens: 0, tokens: 576 },
  {
    name: 'siglip-so400m-384',
    checkpoint: 'timm/ViT-SO400M-14-SigLIP-384',
    kind: 'siglip-vit',
    side: 384,
    patch: 14,
    width: 1152,
    layers: 27,
    heads: 16,
    classTokens: 0,
    tap: 'normed',
    tokens: 729,
  },
  {
    ...convNext,
    name: 'convnext-l-512',
    checkpoint: `${laion}_large_d_320.laion2B-s29B-b131K-ft-soup`,
    side: 512,
    width: 1536,
  },
  {
    ...convNext,
    name: 'convnext-l-1024',
    checkpoint: `${laion}_large_d_320.laion2B-s29B-b131K-ft-soup`,
    side: 1024,
    width: 1536,
  },
  {
    ...convNext,
    name: 'convnext-xxl-1024',
    checkpoint: `${laion}_xxlarge-laion2B-s34B-b82K-augreg-soup`,
    side: 1024,
    width: 3072,
    layers: 40,
  },
  {
    ...large,
    name: 'dinov2-l-336',
    checkpoint: 'facebook/dinov2-large',
    kind: 'dinov2',
    side: 336,
    patch: 14,
    tokens: 576,
  },
  {
    ...large,
    name: 'dinov2-l-518',
    checkpoint: 'facebook/dinov2-large',
    kind: 'dinov2',
    side: 518,
    patch: 14,
    tokens: 576,
  },
  {
    name: 'moco-v3-b',
    checkpoint: 'vit-b-300ep.pth.tar',
    kind: 'moco-vit',
    side: 224,
    patch: 16,
    width: 768,
    layers: 12,
    heads: 12,
    classTokens: 1,
    tap: 'normed',
    tokens: 196,
  },
  { ...large, name: 'moco-v3-l', kind: 'moco-vit', side: 224, patch: 16, tokens: 196 },
  {
    ...large,
    name: 'mae-l',
    checkpoint: 'timm/vit_large_patch16_224.mae',
    kind: 'timm-vit',
    side: 224,
    patch: 16,
    tokens: 196,
  },
  {
    ...huge,
    name: 'mae-h',
    checkpoint: 'timm/vit_huge_patch14_224.mae',
    kind: 'timm-vit',
    side: 224,
    patch: 14,
    tokens: 256,
  },
  {
    ...huge,
    name: 'ijepa-h',
    checkpoint: 'facebook/ijepa_vith14_22k',
    kind: 'ijepa-vit',
    side: 224,
    patch: 14,
    classTokens: 0,
    tokens: 256,
  },
  {
    ...large,
    name: 'sam-l',
    checkpoint: 'sam_vit_l_0b3195.pth',
    kind: 'sam-vit',
    side: 1024,
    patch: 16,
    classTokens: 0,
    tap: 'last',
    tokens: 576,
  },
  {
    ...huge,
    name: 'sam-h',
    checkpoint: 'sam_vit_h_4b8939.pth',
    kind: 'sam-vit',
    side: 1024,
    patch: 16,
    classTokens: 0,
    tap: 'last',
    tokens: 576,
  },
  {
    ...large,
    name: 'midas-3.0',
    checkpoint: 'Intel/dpt-large',
    kind: 'dpt-vit',
    side: 384,
    patch: 16,
    tap: 'last',
    tokens: 576,
  },
  {
    ...large,
    name: 'midas-3.1',
    checkpoint: 'Intel/dpt-beit-large-512',
    kind: 'dpt-beit',
    side: 512,
    patch: 16,
    tap: 'last',
    tokens: 576,
  },
  // Four maps of the U-Net side by side, of a noise that is fresh each time: it has no model file here.
  {
    name: 'stable-diffusion-2.1',
    checkpoint: 'stabilityai/stable-diffusion-2-1',
    kind: 'none',
    side: 512,
    patch: 16,
    width: 3520,
    layers: 1,
    heads: 1,
    classTokens: 0,
    tap: 'last',
    tokens: 576,
  },
  {
    ...large,
    name: 'vit-l-in21k',
    checkpoint: 'timm/vit_large_patch16_224.orig_in21k',
    kind: 'timm-vit',
    side: 224,
    patch: 16,
    tokens: 196,
  },
  {
    ...huge,
    name: 'vit-h-in21k',
    checkpoint: 'timm/vit_huge_patch14_224.orig_in21k',
    kind: 'timm-vit',
    side: 224,
    patch: 14,
    tokens: 256,
  },
];

/** Rows and columns of a row's own map. */
export function studyGrid({ side, patch }: StudyRow): number {
  return Math.floor(side / patch);
}
