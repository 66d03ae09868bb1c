// Numbers of tokens that a search may try near a budget.

/** Sides of squares whose number of tokens lies around the budget. */
export function sidesNear(tokens: number): readonly number[] {
  const side = Math.sqrt(tokens);
  return [...new Set([Math.floor(side), Math.round(side), Math.ceil(side)])].filter((n) => n >= 1);
}

/** Squares around the budget. */
export function squaresNear(tokens: number): readonly number[] {
  return sidesNear(tokens).map((side) => side * side);
}
