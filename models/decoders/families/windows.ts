// Which layers of a language model see a window of the past, and which all of it.
import type { ConfigReader } from '../../configs/config-reader.ts';

/** `layer_types`, or what a family does where the config has none. Throws `OpabiniaError` for a type that is not known. */
export function slidingLayers(
  config: ConfigReader,
  layers: number,
  otherwise: (layer: number) => boolean,
): readonly boolean[] {
  if (!config.has('layer_types')) return Array.from({ length: layers }, (_, layer) => otherwise(layer));
  const types = config.texts('layer_types');
  if (types.length !== layers) throw config.wrong('layer_types', `has ${types.length} entries for ${layers} layers`);
  return types.map((type) => {
    if (type === 'sliding_attention') return true;
    if (type === 'full_attention') return false;
    throw config.wrong('layer_types', `names '${type}'`, 'known are full_attention, sliding_attention');
  });
}

/** The window and its layers, where any layer has one. */
export function windowOf(
  sliding: readonly boolean[],
  window: number | undefined,
): { readonly window?: number; readonly sliding?: readonly boolean[] } {
  if (window === undefined || !sliding.includes(true)) return {};
  return sliding.includes(false) ? { window, sliding } : { window };
}
