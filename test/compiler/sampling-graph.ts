// Bilinear sampling of a feature map at points of its own for every query, summed with weights: what deformable attention reads.
import {
  abs,
  floor,
  gather,
  rearrange,
  randomParams,
  reduce,
  trace,
  type Graph,
  type Tensor,
} from '../../dsl/index.ts';

/** Σ_s weight · map(points + offsets), by four gathers from the flat map; what lies outside counts 0. */
export function sampledMap(side = 24, queries = 100, samples = 4, channels = 64): Graph {
  return trace(randomParams(1), (t) => {
    const map = t.input('map', 'b h w c', { b: 1, h: side, w: side, c: channels });
    const flat = rearrange(map, 'b h w c -> b n=(h w) c');
    const point = (name: string): Tensor<'b q s', 'f32'> => {
      const offset = t.input(`${name} offset`, 'b q s', { b: 1, q: queries, s: samples });
      const start = t.input(name, 'b q', { b: 1, q: queries });
      return offset.add(start).mul(side).sub(0.5);
    };
    const weight = t.input('weight', 'b q s', { b: 1, q: queries, s: samples });
    const [x, y] = [point('x'), point('y')];
    const [left, top] = [floor(x), floor(y)];
    const corner = (dx: number, dy: number): Tensor<'b q s c', 'f32'> => {
      const [column, row] = [left.add(dx), top.add(dy)];
      const share = abs(x.sub(column))
        .neg()
        .add(1)
        .mul(abs(y.sub(row)).neg().add(1));
      const inside = column
        .ge(0)
        .and(column.le(side - 1))
        .and(row.ge(0).and(row.le(side - 1)));
      const within = (at: Tensor<'b q s', 'f32'>) => at.max(0).min(side - 1);
      const at = within(row).mul(side).add(within(column)).cast('i32');
      return rearrange(gather(flat, at, 'n'), 'b q s c -> b q s c').mul(share.where(inside, 0));
    };
    const sampled = corner(0, 0).add(corner(1, 0)).add(corner(0, 1)).add(corner(1, 1));
    return { y: reduce(sampled.mul(weight), 'b q s c -> b q c', 'sum') };
  });
}
