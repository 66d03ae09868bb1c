// Command A Vision: Aya Vision's projector without its norm.
import { splitGated } from '../../parts/mlp.ts';
import { otherMerges, spaceToDepth } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface CommandAConfig {
  readonly merge: number;
  /** Width of both halves together (`alignment_intermediate_size`); with a checkpoint it may be left to that. */
  readonly hidden?: number | undefined;
}

export const commandA = connector<CommandAConfig>({
  name: 'command-a-vision',
  title: 'Command A Vision',
  paper: 'https://huggingface.co/CohereLabs/command-a-vision-07-2025',
  year: 2025,
  source: 'huggingface/transformers models/cohere2_vision/modeling_cohere2_vision.py Cohere2VisionMultiModalProjector',
  mathematics: ['[u ; g] = W₁ s2d(x)', 'y = W₂ (u · silu(g))'],
  towers: 'one',
  presets: {
    'command-a-vision': { config: { merge: 2, hidden: 36864 }, maps: [[32, 32, 1152]], width: 12288 },
  },
  variants: otherMerges,
  build: (p, maps, config, context) =>
    mapTokens(splitGated(p, spaceToDepth(onlyMap(maps), config.merge), config.hidden, context.width)),
});
