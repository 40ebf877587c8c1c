/**
 * Signs of collapse in features: does every token say the same?
 *
 * Deviation: of each feature over tokens, averaged over features; a collapsed
 * encoder's goes to 0. Effective rank: exp of the entropy of the normalised
 * singular values of the centred features (Roy & Vetterli, EUSIPCO 2007); it
 * falls before the loss shows anything.
 */

import { EigenvalueDecomposition, Matrix } from "ml-matrix";

/** What a sample of tokens shows. */
export interface FeatureHealth {
  /** Mean over the features of their deviation over tokens. */
  std: number;
  /** Between 1 and min(tokens, features). */
  effectiveRank: number;
}

/**
 * Measures a sample of token features.
 *
 * @param features `[tokens, dim]`, row-major; a few hundred tokens are enough.
 * @returns null for fewer than two tokens: there is nothing to compare.
 */
export function featureHealth(
  features: ArrayLike<number>,
  dim: number,
): FeatureHealth | null {
  const tokens = features.length / dim;
  if (tokens < 2) return null;
  const centred = new Float64Array(features.length);
  let std = 0;
  for (let d = 0; d < dim; d++) {
    let mean = 0;
    for (let n = 0; n < tokens; n++) mean += features[n * dim + d] ?? 0;
    mean /= tokens;
    let squares = 0;
    for (let n = 0; n < tokens; n++) {
      const x = (features[n * dim + d] ?? 0) - mean;
      centred[n * dim + d] = x;
      squares += x * x;
    }
    std += Math.sqrt(squares / (tokens - 1)) / dim;
  }
  return { std, effectiveRank: effectiveRank(centred, tokens, dim) };
}

/** From the Gram matrix of the smaller side: its eigenvalues are the squared singular values. */
function effectiveRank(
  centred: Float64Array,
  tokens: number,
  dim: number,
): number {
  const x = Matrix.from1DArray(tokens, dim, centred);
  const gram = tokens <= dim ? x.mmul(x.transpose()) : x.transpose().mmul(x);
  const { realEigenvalues } = new EigenvalueDecomposition(gram, {
    assumeSymmetric: true,
  });
  const singular = realEigenvalues.map((value) =>
    Math.sqrt(Math.max(0, value)),
  );
  const sum = singular.reduce((a, b) => a + b, 0);
  if (sum === 0) return 1;
  const entropy = singular
    .filter((s) => s > 0)
    .reduce((h, s) => h - (s / sum) * Math.log(s / sum), 0);
  return Math.exp(entropy);
}

/**
 * Says when features collapse: when their effective rank falls to a quarter of
 * the most it has been, or below two. Once, until the rank is up to half again.
 */
export class CollapseWatch {
  #most = 0;
  #warned = false;

  /** @param rank the next measurement, if one was made. @returns the warning, when it is due. */
  look(rank: number | undefined): string | undefined {
    if (rank === undefined) return undefined;
    this.#most = Math.max(this.#most, rank);
    if (rank > this.#most / 2 && rank > 2) this.#warned = false;
    if (this.#warned || (rank > this.#most / 4 && rank >= 2)) return undefined;
    this.#warned = true;
    return `the target's features collapse: effective rank ${rank.toFixed(1)}, ${this.#most.toFixed(1)} at most before; try a lower optimization.lr, a longer warmup, or an ema nearer to 1`;
  }
}
