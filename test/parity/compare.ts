/** Tolerances of parity cases. */

export interface Tolerance {
  rtol: number;
  atol: number;
  /** At most `loose_fraction` of the elements may differ by more than this; all obey `atol` and `rtol`. */
  tight_atol?: number;
  loose_fraction?: number;
}

/**
 * What is wrong, or null: every element must satisfy
 * `|got − want| ≤ atol + rtol·|want|`.
 */
export function difference(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tol: Tolerance,
): string | null {
  if (got.length !== want.length)
    return `${got.length} values, expected ${want.length}`;
  const { rtol, atol, tight_atol: tight } = tol;
  let [bad, loose, worst, at] = [0, 0, -1, -1];
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i] as number, want[i] as number];
    if (g === w || (Number.isNaN(g) && Number.isNaN(w))) continue;
    const error = Math.abs(g - w);
    const excess = error - (atol + rtol * Math.abs(w));
    if (!(excess <= 0)) bad++;
    if (tight !== undefined && !(error <= tight)) loose++;
    const size = Number.isNaN(excess) ? Number.POSITIVE_INFINITY : excess;
    if (size > 0 && size > worst) [worst, at] = [size, i];
  }
  if (bad > 0) {
    const example = `element ${at} is ${got[at]}, expected ${want[at]}`;
    return `${bad} of ${want.length} values differ; ${example} (rtol ${rtol}, atol ${atol})`;
  }
  const allowed = (tol.loose_fraction ?? 0) * want.length;
  if (loose > allowed)
    return `${loose} of ${want.length} values differ by more than ${tight}; at most ${allowed} may`;
  return null;
}
