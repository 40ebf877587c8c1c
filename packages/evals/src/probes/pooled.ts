/** Features of samples as vectors: the mean of each one's tokens. */

import type { TokenSet } from "../tokens/token_set.ts";

/** `[samples, dim]`, row-major. */
export interface PooledFeatures {
  samples: number;
  dim: number;
  values: Float32Array;
}

/** Rows of a set's samples. */
export function pooledOf(
  set: TokenSet,
  samples?: ArrayLike<number>,
): PooledFeatures {
  const { dim } = set;
  const all = set.pooled();
  if (samples === undefined) return { samples: set.samples, dim, values: all };
  const values = new Float32Array(samples.length * dim);
  for (let i = 0; i < samples.length; i++)
    values.set(
      all.subarray(samples[i]! * dim, (samples[i]! + 1) * dim),
      i * dim,
    );
  return { samples: samples.length, dim, values };
}

/** Shift and scale that give the features mean 0 and deviation 1 by column. */
export interface Standardisation {
  mean: Float64Array;
  scale: Float64Array;
}

export function standardisation(x: PooledFeatures): Standardisation {
  const { dim, samples, values } = x;
  const mean = new Float64Array(dim);
  const square = new Float64Array(dim);
  for (let i = 0; i < samples; i++)
    for (let d = 0; d < dim; d++) mean[d]! += values[i * dim + d]! / samples;
  for (let i = 0; i < samples; i++)
    for (let d = 0; d < dim; d++)
      square[d]! += (values[i * dim + d]! - mean[d]!) ** 2 / samples;
  return { mean, scale: square.map((v) => 1 / Math.sqrt(v + 1e-6)) };
}

/** The features, standardised. */
export function standardised(
  { samples, dim, values }: PooledFeatures,
  { mean, scale }: Standardisation,
): PooledFeatures {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const d = i % dim;
    out[i] = (values[i]! - mean[d]!) * scale[d]!;
  }
  return { samples, dim, values: out };
}
