// Adding to hidden states at the positions where visual tokens stand.
import { gather, type Float, type Tensor } from '../../dsl/index.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { InjectionState } from '../connectors/connector.ts';

/** The tensor `name` that a connector carries into the language model, with these axes. Throws `OpabiniaError` where it is not there. */
export function carried<S extends string>(state: InjectionState, name: string, axes: S): Tensor<S, Float> {
  const value = state.carried[name];
  if (value === undefined)
    throw new OpabiniaError(`the connector carries no '${name}'`, {
      op: 'inject',
      advice: `it carries ${Object.keys(state.carried).join(', ')}`,
    });
  return value.named(axes) as Tensor<S, Float>;
}

/** Hidden states with one of the carried vectors `b n e` added at each visual position. */
export function addedAtSlots(state: InjectionState, name: string): InjectionState['hidden'] {
  return addedRows(state.hidden, carried(state, name, 'b n e'), state.slots);
}

/** hidden + rows[slot] where the slot is not negative. */
export function addedRows(
  hidden: Tensor<'b s e', Float>,
  rows: Tensor<'b n e', Float>,
  slots: Tensor<'b s', 'i32'>,
): Tensor<'b s e', Float> {
  return hidden.add(gather(rows, slots, 'n').where(slots.ge(0), 0));
}
