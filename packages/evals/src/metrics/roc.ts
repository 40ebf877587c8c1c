/** The area under the receiver operating characteristic, and d′. */

import { type ScoreSteps, scoreSteps } from "./steps.ts";

/**
 * The chance that a positive's score is above a negative's; ties count half.
 *
 * @returns NaN without a positive, or without a negative.
 * @example rocAuc([0.9, 0.8, 0.1], [1, 0, 1]); // 0.5
 */
export function rocAuc(
  scores: ArrayLike<number>,
  positive: ArrayLike<number>,
): number {
  return areaOf(scoreSteps(scores, positive));
}

/** As {@link rocAuc}, of scores that are counted already. */
export function areaOf({ positives, negatives }: ScoreSteps): number {
  let [above, ups, downs] = [0, 0, 0];
  positives.forEach((up, step) => {
    const down = negatives[step]!;
    above += down * (ups + up / 2);
    ups += up;
    downs += down;
  });
  return above / (ups * downs);
}

/** Areas nearer to 0 or 1 than this are taken for it: their deviate would be endless. */
const AUC_CLIP = 1e-6;

/** d′ of an area: the distance of two normal distributions of deviation 1 that have it, `√2·Φ⁻¹(auc)`. */
export function dPrime(auc: number): number {
  const clipped = Math.min(Math.max(auc, AUC_CLIP), 1 - AUC_CLIP);
  return Math.SQRT2 * inverseNormal(clipped);
}

/**
 * Φ⁻¹: the normal deviate below which a share `p` lies. Acklam's rational
 * approximation (relative error 1e-9), one step of Halley's method onto it.
 */
export function inverseNormal(p: number): number {
  if (!(p > 0 && p < 1))
    return p === 0 ? -Infinity : p === 1 ? Infinity : Number.NaN;
  // The upper half by symmetry: small shares keep their digits.
  if (p > 0.5) return -inverseNormal(1 - p);
  const x = acklam(p);
  const error = 0.5 * erfc(-x / Math.SQRT2) - p;
  const u = error * Math.sqrt(2 * Math.PI) * Math.exp((x * x) / 2);
  return x - u / (1 + (x * u) / 2);
}

const central = {
  over: [
    -3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2,
    1.38357751867269e2, -3.066479806614716e1, 2.506628277459239,
  ],
  under: [
    -5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2,
    6.680131188771972e1, -1.328068155288572e1, 1,
  ],
};
const tail = {
  over: [
    -7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838,
    -2.549732539343734, 4.374664141464968, 2.938163982698783,
  ],
  under: [
    7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996,
    3.754408661907416, 1,
  ],
};

function acklam(p: number): number {
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return polynomial(tail.over, q) / polynomial(tail.under, q);
  }
  const q = p - 0.5;
  return (
    (q * polynomial(central.over, q * q)) / polynomial(central.under, q * q)
  );
}

function polynomial(coefficients: readonly number[], x: number): number {
  return coefficients.reduce((sum, c) => sum * x + c, 0);
}

/** 1 − erf, for x ≥ 0: the series below 2, the continued fraction (Lentz) above. */
function erfc(x: number): number {
  if (x < 2) {
    let [term, sum] = [x, x];
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}
