/** Confidence of a share (Wilson, J. Am. Stat. Assoc. 22, 1927). */

/** From low to high, shares from 0 to 1. */
export interface Interval {
  low: number;
  high: number;
}

/**
 * Wilson's score interval of `right` of `total`; all of 0 … 1 without samples.
 *
 * @param z normal deviate; default that of 95 %.
 * @example wilsonInterval(8, 10); // { low: 0.490, high: 0.943 }
 */
export function wilsonInterval(
  right: number,
  total: number,
  z = 1.959963984540054,
): Interval {
  if (total <= 0) return { low: 0, high: 1 };
  const p = right / total;
  const scale = 1 / (1 + (z * z) / total);
  const centre = scale * (p + (z * z) / (2 * total));
  const reach =
    scale *
    z *
    Math.sqrt((p * (1 - p)) / total + (z * z) / (4 * total * total));
  return {
    low: right === 0 ? 0 : Math.max(0, centre - reach),
    high: right === total ? 1 : Math.min(1, centre + reach),
  };
}
