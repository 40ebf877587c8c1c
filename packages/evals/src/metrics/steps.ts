/** What lies at each score of a ranking. */

/** Of each distinct score, from the greatest down. */
export interface ScoreSteps {
  /** `[steps]` samples of the class with that score. */
  positives: Uint32Array;
  /** `[steps]` others with it. */
  negatives: Uint32Array;
}

/**
 * Counts positives and negatives by score: all that average precision and the
 * area under the curve need. Two sorts of plain numbers take a fraction of the
 * time of one of places. What is no number comes last.
 *
 * @param positive of each score, 0 where it is none.
 */
export function scoreSteps(
  scores: ArrayLike<number>,
  positive: ArrayLike<number>,
): ScoreSteps {
  const all = Float64Array.from(scores, (score) =>
    Number.isNaN(score) ? -Infinity : score,
  );
  const own = all.filter((_, i) => positive[i] !== 0).sort();
  all.sort();
  const positives = new Uint32Array(all.length);
  const negatives = new Uint32Array(all.length);
  let steps = 0;
  let p = own.length - 1;
  for (let i = all.length - 1; i >= 0; steps++) {
    const score = all[i]!;
    for (; i >= 0 && all[i] === score; i--) negatives[steps]! += 1;
    for (; p >= 0 && own[p] === score; p--) positives[steps]! += 1;
    negatives[steps]! -= positives[steps]!;
  }
  return {
    positives: positives.subarray(0, steps),
    negatives: negatives.subarray(0, steps),
  };
}
