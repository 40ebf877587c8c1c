/** Retrieval between two sets of vectors, of which the i-th of each belong together. */

import { expectedRecall, medianRank } from "../metrics/retrieval.ts";

/** Per cent of the queries whose own candidate is among the first 1, 5, 10; and the median rank, from 1. */
export interface Recall {
  R1: number;
  R5: number;
  R10: number;
  median_rank: number;
}

/** How near two vectors are: by angle, or by the mean absolute difference. */
export type Similarity = "cosine" | "l1";

/** Milliseconds of arithmetic after which others are let in. */
const slice = 50;

/**
 * Candidates as near as the right one are in a random order: vectors that are
 * all alike are found by chance.
 *
 * The work grows with the square of n; signals are heard meanwhile.
 *
 * @param queries `[n, dim]` @param candidates `[n, dim]`
 * @param progress is told of the queries done; true ends the work.
 * @returns null when it was ended.
 */
export async function recallBetween(
  queries: Float64Array,
  candidates: Float64Array,
  dim: number,
  similarity: Similarity,
  progress: (done: number) => boolean | void = () => {},
): Promise<Recall | null> {
  const count = queries.length / dim;
  const scoreOf =
    similarity === "l1"
      ? distances(queries, candidates, dim)
      : cosines(queries, candidates, dim);
  const before = new Uint32Array(count);
  const equal = new Uint32Array(count);
  let since = performance.now();
  for (let i = 0; i < count; i++) {
    const own = scoreOf(i, i, -Infinity);
    for (let c = 0; c < count; c++) {
      const score = c === i ? own : scoreOf(i, c, own);
      // What is no number is behind everything.
      if (score > own || Number.isNaN(own)) before[i]! += 1;
      else if (score === own && c !== i) equal[i]! += 1;
    }
    if (performance.now() - since < slice && i + 1 < count) continue;
    if (progress(i + 1) === true) return null;
    await Bun.sleep(0);
    since = performance.now();
  }
  return {
    R1: expectedRecall(before, equal, 1),
    R5: expectedRecall(before, equal, 5),
    R10: expectedRecall(before, equal, 10),
    median_rank: medianRank(
      Float64Array.from(before, (rank, i) => rank + equal[i]! / 2),
    ),
  };
}

/** Score of a query with a candidate; anything below `least` where it is less than that. */
type Score = (query: number, candidate: number, least: number) => number;

function distances(
  queries: Float64Array,
  candidates: Float64Array,
  dim: number,
): Score {
  return (query, candidate, least) => {
    const [q, c] = [query * dim, candidate * dim];
    let sum = 0;
    for (let d = 0; d < dim && sum >= least; d++)
      sum -= Math.abs(queries[q + d]! - candidates[c + d]!);
    return sum;
  };
}

/** Times the length of the query, which its order of candidates does not depend on. */
function cosines(
  queries: Float64Array,
  candidates: Float64Array,
  dim: number,
): Score {
  const norms = Float64Array.from({ length: candidates.length / dim }, (_, c) =>
    Math.sqrt(
      candidates
        .subarray(c * dim, (c + 1) * dim)
        .reduce((sum, x) => sum + x * x, 0),
    ),
  );
  return (query, candidate) => {
    const [q, c] = [query * dim, candidate * dim];
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += queries[q + d]! * candidates[c + d]!;
    return sum / Math.max(1e-12, norms[candidate]!);
  };
}

/** Vectors less their mean: what all have in common tells nothing apart. */
export function centred(vectors: Float64Array, dim: number): Float64Array {
  const count = vectors.length / dim;
  const mean = new Float64Array(dim);
  vectors.forEach((x, i) => (mean[i % dim]! += x / count));
  return vectors.map((x, i) => x - mean[i % dim]!);
}
