// Rotations of tokens that have three positions (M-RoPE, arXiv 2409.12191), known in the graph only: rows of a table, by frequency.
import { gather, OpabiniaError, repeat, where, type Tensor, type Trace } from '../../dsl/index.ts';
import { ropeTables, type Angles, type Rope } from './rope.ts';

/** Positions in time, of rows and of columns. */
export type Places = readonly [time: Tensor<'b s', 'i32'>, row: Tensor<'b s', 'i32'>, column: Tensor<'b s', 'i32'>];

/** Each position below `upTo`. Throws `OpabiniaError` for a model whose frequencies are not divided among three. */
export function axisAngles(t: Trace, rope: Rope, upTo: number, places: Places): Angles {
  const { axes } = rope;
  if (axes === undefined)
    throw new OpabiniaError('the rotations of this model have one position a token', {
      op: 'rope',
      advice: "its config has no 'mrope_section'",
    });
  if (rope.scaling.kind === 'longrope' || rope.scaling.kind === 'dynamic')
    throw new OpabiniaError('rotations that change with the length are not known for three positions a token', {
      op: 'rope',
      advice: "known are rope_type 'default', 'linear', 'llama3' and 'yarn'",
    });
  const f = rope.rotated / 2;
  const tables = ropeTables(
    rope,
    Array.from({ length: upTo }, (_, position) => position),
  );
  const axis = t.constant([...axes], 'f', { f }, 'i32');
  const of = (values: Float32Array): Tensor<'b s f', 'f32'> => {
    const table = t.constant(values, 'p f', { p: upTo, f });
    const [time, row, column] = places.map((place) => gather(table, place, 'p')) as [
      Tensor<'b s f', 'f32'>,
      Tensor<'b s f', 'f32'>,
      Tensor<'b s f', 'f32'>,
    ];
    return where(axis.eq(0), time, where(axis.eq(1), row, column)) as Tensor<'b s f', 'f32'>;
  };
  const sign = t.iota('half', 2).cast('f32').mul(2).sub(1);
  return { cos: of(tables.cos), sin: repeat(of(tables.sin), 'b s f -> b s half f', { half: 2 }).mul(sign) };
}
