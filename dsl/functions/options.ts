// What types say of options in an editor is said once more when a model is traced: Node runs a file that nobody has type-checked.
import { refusal, type Tensor } from '../tensor.ts';

/** Throws `OpabiniaError` where the options of the function `name` are none, or one of them is not known. */
export function checkOptions<T extends object>(
  name: string,
  x: Tensor,
  options: T,
  known: readonly (keyof T & string)[],
): void {
  const all = `the options are { ${known.join(', ')} }`;
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw refusal(name, `${String(options)} is given for the options`, [x], all);
  const stray = Object.keys(options).find((key) => !known.some((option) => option === key));
  if (stray !== undefined) throw refusal(name, `there is no option '${stray}'`, [x], all);
}

/** Throws `OpabiniaError` where the option `option` is none of `among`. */
export function checkChoice<T extends string>(
  name: string,
  x: Tensor,
  option: string,
  value: T,
  among: readonly NoInfer<T>[],
): void {
  if (among.includes(value)) return;
  const quoted = among.map((choice) => `'${choice}'`).join(', ');
  throw refusal(
    name,
    `${option} is ${value === undefined ? 'not given' : `'${String(value)}'`}`,
    [x],
    `one of ${quoted}`,
  );
}
