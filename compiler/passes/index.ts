// The passes in order. Each runs once.
import type { Pass, RulePass } from '../rewrite/pass.ts';
import { absorption } from './absorption.ts';
import { algebra } from './algebra.ts';
import { association } from './association.ts';
import { broadcastRules } from './broadcasts.ts';
import { constantRules } from './constants.ts';
import { joins } from './joins.ts';
import { lowRank } from './low-rank.ts';
import { recomputation } from './recomputation.ts';
import { resampling } from './resampling.ts';
import { siblings } from './siblings.ts';
import { slices } from './slices.ts';
import { weightedSums } from './weighted-sums.ts';
import { viewRules } from './views.ts';

export const canonical: RulePass = {
  name: 'canonical',
  why: 'one form for what can be written in several ways; what is the same along an axis is computed once',
  rules: [...constantRules, ...viewRules, ...broadcastRules],
};

/**
 * Slices are pushed down before siblings are merged, so that a product needed for fewer rows is not merged with one that
 * needs them all; siblings leave slices behind, which the joins put after the joins of keys and values. What is computed again is
 * decided last: no rule sees through it.
 */
export const passes: readonly Pass[] = [
  canonical,
  lowRank,
  weightedSums,
  slices,
  algebra,
  resampling,
  absorption,
  association,
  siblings,
  joins,
  recomputation,
];
