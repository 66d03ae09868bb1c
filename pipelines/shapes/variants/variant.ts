// One of the things that are compared: a connector in a configuration, or a control, with the maps that it reads.
import { concat, rearrange, type Float, type Params, type Tensor, type Trace } from '../../../dsl/index.ts';
import type { Connect, MapShape } from '../../../models/connectors/connector.ts';
import type { VisualTokens } from '../../../models/connectors/visual-tokens.ts';
import type { FeatureMap } from '../../../models/sequence/regions.ts';
import { answerLogits, embedQuestions, type DecoderSize } from '../train/decoder.ts';
import { questionWidth } from '../train/question-codes.ts';

export interface Variant {
  /** In tables; no two are the same. */
  readonly name: string;
  /** Undefined: the decoder is blind. */
  readonly used: Connect | undefined;
  readonly config: unknown;
  /** Visual tokens. */
  readonly tokens: number;
  /** What it reads: the encoders' maps, both folded into one, one of them, or the labels. */
  readonly reads: 'both' | 'folded' | 'coarse' | 'fine' | 'labels' | 'nothing';
  readonly control: boolean;
}

/** The maps that a variant is given, from those of the encoders, the coarse one first. */
export function mapsRead(
  reads: Variant['reads'],
  encoders: readonly MapShape[],
  labels: MapShape,
): readonly MapShape[] {
  const [coarse, fine] = encoders;
  if (coarse === undefined || fine === undefined) throw new RangeError('there are two encoders');
  switch (reads) {
    case 'both':
      return encoders;
    case 'coarse':
      return [coarse];
    case 'fine':
      return [fine];
    case 'folded': {
      const fold = fine[0] / coarse[0];
      return [[coarse[0], coarse[1], coarse[2] + fold * fold * fine[2]]];
    }
    case 'labels':
      return [labels];
    case 'nothing':
      return [];
    default:
      return reads satisfies never;
  }
}

export interface GraphSizes {
  readonly batch: number;
  /** Questions of a picture. */
  readonly questions: number;
  readonly encoders: readonly MapShape[];
  readonly labels: MapShape;
  readonly decoder: DecoderSize;
}

export interface Made {
  readonly logits: Tensor<'b q a', Float>;
  /** The inputs that the connector's maps are made of. */
  readonly inputs: readonly FeatureMap[];
  /** What the connector made. */
  readonly visual: VisualTokens | undefined;
}

/** Inputs `map_{k}` (or `labels_map`) and `questions`, `b q v`; to logits. `p` is the root. */
export function variantLogits(t: Trace, p: Params, { used, reads }: Variant, sizes: GraphSizes): Made {
  const { batch: b, encoders, labels, decoder } = sizes;
  const input = (name: string, [h, w, c]: MapShape): FeatureMap =>
    t.input<'b h w c', Float>(name, 'b h w c', { b, h, w, c });
  const given =
    reads === 'labels'
      ? [input('labels_map', labels)]
      : encoders.flatMap((map, k) => (wants(reads, k) ? [input(`map_${k}`, map)] : []));
  const rows = t.input<'b q v', Float>('questions', 'b q v', { b, q: sizes.questions, v: questionWidth });
  const asked = embedQuestions(p.at('question'), rows, decoder);
  let visual: VisualTokens | undefined;
  if (used !== undefined) {
    const pictures = Array.from({ length: b }, () => ({ width: 64, height: 64 }));
    visual = used.build(p.at('connector'), reads === 'folded' ? [folded(given)] : given, {
      width: decoder.width,
      pictures,
      question: () => rearrange(asked, 'b q e -> b t=(q) e'),
    });
  }
  return { logits: answerLogits(t, p.at('decoder'), visual, asked, decoder, used), inputs: given, visual };
}

function wants(reads: Variant['reads'], k: number): boolean {
  if (reads === 'coarse') return k === 0;
  if (reads === 'fine') return k === 1;
  return reads !== 'nothing';
}

/** The fine map's patches beside the channels of the coarse one: nothing is lost. */
function folded(maps: readonly FeatureMap[]): FeatureMap {
  const [coarse, fine] = maps;
  if (coarse === undefined || fine === undefined) throw new RangeError('there are two encoders');
  const within = rearrange(fine, 'b (h y) (w x) c -> b h w c=(y x c)', { h: coarse.size('h'), w: coarse.size('w') });
  return concat([coarse, within], 'c');
}

/** The parameters that a variant's graph reads stand below these. */
export const variantRoots = ['question', 'connector', 'decoder'] as const;
