// Which dtypes a scalar function takes, and which it gives.
import { isFloat, isInteger, Refusal, type Attrs, type DType } from '../../graph/op.ts';

export type Rule = (operands: readonly DType[], attrs: Attrs) => DType | Refusal;

export const agree = (operands: readonly DType[]): DType | Refusal => {
  const [first = 'f32'] = operands;
  const other = operands.find((dtype) => dtype !== first);
  return other === undefined ? first : new Refusal(`dtypes differ: ${operands.join(' and ')}`, 'cast one of them');
};
export const floats: Rule = (operands) => {
  const dtype = agree(operands);
  return dtype instanceof Refusal || isFloat(dtype)
    ? dtype
    : new Refusal(`takes floats, not ${dtype}`, "cast(x, 'f32')");
};
export const numbers: Rule = (operands) => {
  const dtype = agree(operands);
  return dtype instanceof Refusal || dtype !== 'bool'
    ? dtype
    : new Refusal('takes numbers, not bool', "cast(x, 'f32'), or use and, or, not");
};
export const integers: Rule = (operands) => {
  const dtype = agree(operands);
  return dtype instanceof Refusal || isInteger(dtype)
    ? dtype
    : new Refusal(`takes whole numbers, not ${dtype}`, "cast(x, 'u32')");
};
export const comparison: Rule = (operands) => {
  const dtype = numbers(operands, {});
  return dtype instanceof Refusal ? dtype : 'bool';
};
export const logic: Rule = (operands) => {
  const other = operands.find((dtype) => dtype !== 'bool');
  return other === undefined ? 'bool' : new Refusal(`takes bool, not ${other}`, 'compare first, e.g. x.gt(0)');
};
