// Weights from a seed, by name: no tensor depends on which others there are. Every value is exact in f32, f16 and bf16.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import type { Shapes } from '../../models/configs/param-shapes.ts';
import type { TensorToStore } from '../../runtime/checkpoint/safetensors-write.ts';

/** FNV-1a, and from there on a 32-bit generator (splitmix): arithmetic that is the same on every machine. */
function generator(name: string, seed: number): () => number {
  let hash = (0x811c9dc5 ^ seed) >>> 0;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return () => {
    hash = (hash + 0x9e3779b9) >>> 0;
    let x = hash;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** Eight significant bits, none below 2⁻¹⁷: what bf16 and f16 both hold. */
function rounded(value: number): number {
  const step = Math.max(2 ** -17, 2 ** (Math.floor(Math.log2(Math.abs(value) || 1)) - 7));
  return Math.round(value / step) * step;
}

interface Spread {
  readonly centre: number;
  /** Standard deviation, of an even distribution. */
  readonly deviation: number;
}

/**
 * Not as models are initialised, which hides mistakes: norms are not 1, biases not 0, attention is peaked, and the logits are far
 * enough apart that rounding does not choose the token.
 */
function spreadOf(name: string, shape: readonly number[]): Spread {
  const fan = sizeProduct(shape.slice(1));
  if (name.endsWith('.bias')) return { centre: 0, deviation: 0.1 };
  if (/gamma$|lambda1$/.test(name)) return { centre: 0.5, deviation: 0.15 };
  if (name.endsWith('.weight') && shape.length === 1) return { centre: 1, deviation: 0.15 };
  if (/embed_tokens|image_newline|vision_query|class_embedding|cls_token|mask_token|latent|probe/.test(name))
    return { centre: 0, deviation: 0.5 };
  if (/pos_embed|position_embedding/.test(name)) return { centre: 0, deviation: 0.3 };
  if (/(?:^|\.)lm_head\.weight$/.test(name)) return { centre: 0, deviation: 3 / Math.sqrt(fan) };
  if (/[qk]_proj|attn\.qkv|attention\.(?:query|key)/.test(name)) return { centre: 0, deviation: 1.5 / Math.sqrt(fan) };
  return { centre: 0, deviation: 1 / Math.sqrt(fan) };
}

export function makeTensor(
  name: string,
  shape: readonly number[],
  seed: number,
  dtype: TensorToStore['dtype'] = 'F32',
): TensorToStore {
  const { centre, deviation } = spreadOf(name, shape);
  const next = generator(name, seed);
  const values = Float32Array.from({ length: sizeProduct(shape) }, () =>
    rounded(centre + (next() - 0.5) * Math.sqrt(12) * deviation),
  );
  return { name, shape, dtype, values };
}

export function makeTensors(
  shapes: Shapes,
  seed: number,
  dtype: TensorToStore['dtype'] = 'F32',
): readonly TensorToStore[] {
  return [...shapes].map(([name, shape]) => makeTensor(name, shape, seed, dtype));
}
