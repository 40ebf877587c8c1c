/** Average precision: the area under precision over recall, by steps. */

/** By class; classes without a positive have none. */
export interface AveragePrecision {
  /** Classes with a positive, ascending. */
  classes: number[];
  /** Of each of them. */
  values: number[];
  /** Their mean; NaN when there are none. */
  mean: number;
}

/**
 * `Σ (Rₙ − Rₙ₋₁)·Pₙ` over the distinct scores from the greatest down: equal
 * scores are one step, so their order does not matter.
 *
 * @returns NaN without a positive.
 * @example averagePrecision([0.9, 0.8, 0.1], [1, 0, 1]); // 5/6
 */
export function averagePrecision(
  scores: ArrayLike<number>,
  positive: ArrayLike<number>,
): number {
  const order = descending(scores);
  let total = 0;
  for (let i = 0; i < positive.length; i++) if (positive[i]) total++;
  let [sum, found] = [0, 0];
  for (let at = 0; at < order.length;) {
    const before = found;
    const score = scores[order[at]!];
    for (; at < order.length && scores[order[at]!] === score; at++)
      if (positive[order[at]!]) found++;
    sum += ((found - before) / total) * (found / at);
  }
  return total === 0 ? Number.NaN : sum;
}

/** Places from the greatest score to the least. */
export function descending(scores: ArrayLike<number>): Uint32Array {
  return Uint32Array.from(scores, (_, i) => i).sort(
    (a, b) => (scores[b] as number) - (scores[a] as number) || a - b,
  );
}
