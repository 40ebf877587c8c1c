/** Average precision: the area under precision over recall, by steps. */

import { type ScoreSteps, scoreSteps } from "./steps.ts";

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
  return precisionOf(scoreSteps(scores, positive));
}

/** As {@link averagePrecision}, of scores that are counted already. */
export function precisionOf({ positives, negatives }: ScoreSteps): number {
  const total = positives.reduce((sum, count) => sum + count, 0);
  let [sum, found, seen] = [0, 0, 0];
  positives.forEach((count, step) => {
    found += count;
    seen += count + negatives[step]!;
    sum += (count / total) * (found / seen);
  });
  return total === 0 ? Number.NaN : sum;
}
