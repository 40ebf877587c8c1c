/** Retrieval between two sets of vectors, of which the i-th of each belong together. */

import { medianRank, recallAt, retrievalRanks } from "../metrics/retrieval.ts";

/** Per cent of the queries whose own candidate is among the first 1, 5, 10; and the median rank, from 1. */
export interface Recall {
  R1: number;
  R5: number;
  R10: number;
  median_rank: number;
}

/** How near two vectors are: by angle, or by the mean absolute difference. */
export type Similarity = "cosine" | "l1";

/** @param queries `[n, dim]` @param candidates `[n, dim]` */
export function recallBetween(
  queries: Float64Array,
  candidates: Float64Array,
  dim: number,
  similarity: Similarity,
): Recall {
  const count = queries.length / dim;
  const row = (of: Float64Array, i: number) =>
    of.subarray(i * dim, (i + 1) * dim);
  const norms = Array.from({ length: count }, (_, i) =>
    Math.sqrt(row(candidates, i).reduce((sum, x) => sum + x * x, 0)),
  );
  const ranks = Float64Array.from({ length: count }, (_, i) => {
    const query = row(queries, i);
    const scores = Float64Array.from({ length: count }, (_, c) => {
      const candidate = row(candidates, c);
      let sum = 0;
      if (similarity === "l1")
        for (let d = 0; d < dim; d++)
          sum -= Math.abs(query[d]! - candidate[d]!);
      else {
        for (let d = 0; d < dim; d++) sum += query[d]! * candidate[d]!;
        sum /= Math.max(1e-12, norms[c]!);
      }
      return sum;
    });
    return retrievalRanks(scores, 1, count, { match: [i] })[0]!;
  });
  return {
    R1: recallAt(ranks, 1),
    R5: recallAt(ranks, 5),
    R10: recallAt(ranks, 10),
    median_rank: medianRank(ranks),
  };
}

/** Vectors less their mean: what all have in common tells nothing apart. */
export function centred(vectors: Float64Array, dim: number): Float64Array {
  const count = vectors.length / dim;
  const mean = new Float64Array(dim);
  vectors.forEach((x, i) => (mean[i % dim]! += x / count));
  return vectors.map((x, i) => x - mean[i % dim]!);
}
