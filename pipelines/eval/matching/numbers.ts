// Answers that are numbers: right within five percent.
import { pythonFloat } from './python-text.ts';

/** Whether both texts are numbers to Python. */
export function areNumbers(one: string, other: string): boolean {
  return pythonFloat(one) !== undefined && pythonFloat(other) !== undefined;
}

/** Whether two numbers are within 5 % of the second; false for NaN and between infinities. */
export function isNear(value: string, base: string): boolean {
  const [a, b] = [pythonFloat(value) ?? NaN, pythonFloat(base) ?? NaN];
  return Math.abs(a - b) <= Math.abs(b) * 0.05;
}
