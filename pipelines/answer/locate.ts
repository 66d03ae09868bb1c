// Where values stop being finite: prefill once more, with what each layer's values reach.
import { compile } from '../../compiler/compile.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { load } from '../../runtime/program/program.ts';
import type { SharedBuffers } from '../../runtime/program/shared-buffers.ts';
import type { AnswerSizes } from './family.ts';
import { knownSymbols, type Prompts } from './generate.ts';
import { notFinite, type NotFiniteError } from './not-finite.ts';
import type { OpenedModel } from './open-model.ts';

/** `step`: the tokens of the answer so far. What the pictures left in states must be there still. */
export async function locateOverflow(
  {
    model: { family, source },
    device,
    shared,
  }: { readonly model: OpenedModel; readonly device: Device; readonly shared: SharedBuffers },
  sizes: AnswerSizes,
  prompts: Prompts,
  step: number,
): Promise<NotFiniteError> {
  const graph = family.prefill({ ...sizes, locate: true });
  const program = await load(compile(graph, deviceProfile(device)), device, source, { shared });
  try {
    const { reach } = await program.run(prompts.inputs, {
      symbols: knownSymbols(program, prompts.symbols),
      outputs: ['reach'],
    });
    return notFinite(Array.from(reach?.data ?? [], Number), source.dtype === 'f16' ? 'f16' : 'f32', step);
  } finally {
    program.dispose();
  }
}
