// The parts of a Cambrian, by the paths of their parameters.
import { towerRoot, type CambrianModel } from '../../models/multimodal/cambrian-model.ts';
import { isBelow } from '../../models/configs/param-shapes.ts';
import type { ModelPart } from '../answer/family.ts';

/** The last part takes what no other owns. */
export function partsOf({ config }: CambrianModel): readonly ModelPart[] {
  return [
    ...config.towers.map((tower, k) => ({
      name: tower.name.split('/').at(-1) ?? tower.name,
      owns: (path: string) => isBelow(path, towerRoot(k)),
      isTower: true,
    })),
    {
      name: 'connector',
      owns: (path) => /^model\.(mm_projector|vision_sampler_\d|vision_query|image_newline)/.test(path),
    },
    { name: 'SVA layers in the LLM', owns: (path) => isBelow(path, 'model.vision_sampler_layers') },
    { name: 'language model', owns: () => true },
  ];
}
