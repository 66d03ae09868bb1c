// mPLUG-DocOwl 1.5's H-Reducer: neighbours in a row become one token by two convolutions of 1 × k; a learned token ends the picture.
import { conv2d, linear, rearrange } from '../../../dsl/index.ts';
import { activate } from '../../parts/mlp.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, mapTokens, markToken } from '../visual-tokens.ts';

export interface DocOwlConfig {
  /** Patches of a row that become one token. */
  readonly columns: number;
}

export const docowl = connector<DocOwlConfig>({
  name: 'docowl',
  title: 'DocOwl 1.5 H-Reducer',
  paper: 'arXiv 2403.12895',
  year: 2024,
  source: 'X-PLUG/mPLUG-DocOwl DocOwl1.5/mplug_docowl/model/visual_encoder.py MplugDocOwlHReducerModel',
  mathematics: [
    'u = gelu(conv_{1×k, stride k}(x)),  D → kD, spread over k columns again',
    'y = W conv_{1×k, stride k}(u)',
    'tokens: y…, vit_eos',
  ],
  towers: 'one',
  presets: {
    'docowl1.5-8b': { config: { columns: 4 }, maps: [[32, 32, 1024]], width: 4096 },
  },
  variants: (config) => [1, 2, 4, 8, 16].map((columns) => ({ ...config, columns })),
  build: (p, maps, { columns }, { width }) => {
    const map = onlyMap(maps);
    const c = map.size('c');
    const step = { kernel: [1, columns], stride: [1, columns] } as const;
    const before = conv2d(p.at('reducer_before', 0), map, { out: 'c', size: columns * c, ...step });
    const spread = rearrange(activate(before, 'gelu'), 'b h w c=(x d) -> b h w=(w x) c=(d)', { x: columns });
    const y = linear(
      p.at('visual_fc'),
      conv2d(p.at('reducer'), spread, { out: 'c', size: c, ...step }),
      'c',
      sized(width),
    );
    const tokens = mapTokens(y);
    const end = p
      .get('vit_eos', 'i j e', { i: 1, j: 1, e: y.size('c') })
      .at('i', 0)
      .at('j', 0);
    return joinTokens([tokens, markToken(end, 'end', tokens)]);
  },
});
