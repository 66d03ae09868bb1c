// Whether two models that answered the same questions differ (McNemar 1947): of the questions that exactly one got right, each is as
// likely to be either's if they do not.

export interface McNemar {
  /** Questions that only the first got right. */
  readonly first: number;
  /** Questions that only the second got right. */
  readonly second: number;
  /** Two-sided, exact: how often a fair coin would fall as unevenly. */
  readonly p: number;
}

/** Of the counts of questions that one got right and the other did not. */
export function mcNemar(first: number, second: number): McNemar {
  const count = first + second;
  if (count === 0) return { first, second, p: 1 };
  const least = Math.min(first, second);
  // In logarithms: 2⁻ⁿ is not a double beyond a thousand.
  const terms = Array.from({ length: least + 1 }, (_, k) => logChoose(count, k) - count * Math.LN2);
  const largest = Math.max(...terms);
  const tail = Math.exp(largest) * terms.reduce((sum, term) => sum + Math.exp(term - largest), 0);
  return { first, second, p: Math.min(1, 2 * tail) };
}

function logChoose(n: number, k: number): number {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

const factorials: number[] = [0];

function logFactorial(n: number): number {
  for (let i = factorials.length; i <= n; i++) factorials.push((factorials[i - 1] ?? 0) + Math.log(i));
  return factorials[n] ?? 0;
}
